/**
 * What a change source vouches for: `exact` and `superset` name every byte that changed (a superset
 * more than those); `lost` vouches for nothing, and says why. Naming less is never legal.
 */
export type Health =
  | { readonly kind: 'exact' }
  | { readonly kind: 'superset' }
  | { readonly kind: 'lost'; readonly reason: string }

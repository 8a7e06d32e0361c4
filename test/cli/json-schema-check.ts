import type { Schema } from '../../src/cli/json-schema.js'

/**
 * Where `value` does not fit `schema`, as paths with what is wrong; empty when it fits. Knows the
 * few keywords that our schema uses, and is stricter than JSON Schema in one thing: a field that
 * the schema does not name is wrong too, so that none is printed without being described.
 */
export function misfits(value: unknown, schema: Schema, root: Root, path = '$'): string[] {
  if (schema.$ref !== undefined) {
    const target = root.$defs[schema.$ref.replace('#/$defs/', '')]
    return target === undefined
      ? [`${path}: no ${schema.$ref}`]
      : misfits(value, target, root, path)
  }
  if (schema.oneOf !== undefined) {
    const fits = schema.oneOf.filter(one => misfits(value, one, root, path).length === 0)
    return fits.length === 1 ? [] : [`${path}: fits ${fits.length} of the alternatives`]
  }
  return [
    ...typeMisfits(value, schema, path),
    ...objectMisfits(value, schema, root, path),
    ...(Array.isArray(value) && schema.items !== undefined
      ? value.flatMap((item, i) => misfits(item, schema.items as Schema, root, `${path}[${i}]`))
      : []),
  ]
}

export interface Root {
  readonly $defs: Readonly<Record<string, Schema>>
}

function typeMisfits(value: unknown, schema: Schema, path: string): string[] {
  const { type, const: only, enum: some, pattern, minimum } = schema
  const types = type === undefined ? null : [type].flat()
  const isWrong =
    (types !== null && !types.some(name => isOfType(value, name))) ||
    (only !== undefined && value !== only) ||
    (some !== undefined && !some.includes(value as string)) ||
    (pattern !== undefined && typeof value === 'string' && !new RegExp(pattern).test(value)) ||
    (minimum !== undefined && typeof value === 'number' && value < minimum)
  return isWrong ? [`${path}: ${JSON.stringify(value)}`] : []
}

function objectMisfits(value: unknown, schema: Schema, root: Root, path: string): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const { required = [], properties, additionalProperties } = schema
  const missing = required.filter(name => !Object.hasOwn(value, name))
  return [
    ...missing.map(name => `${path}.${name}: missing`),
    ...Object.entries(value).flatMap(([name, field]) => {
      const known = properties?.[name] ?? additionalProperties
      if (known !== undefined) return misfits(field, known, root, `${path}.${name}`)
      return properties === undefined ? [] : [`${path}.${name}: unknown`]
    }),
  ]
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'integer') return Number.isSafeInteger(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === type
}

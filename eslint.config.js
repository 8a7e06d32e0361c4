import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

/** Files that read or write bits and bytes; everywhere else a `|` is a slip of the finger. */
const BIT_LEVEL = [
  'scripts/demo-changes.mjs',
  'src/backend/open-flags.ts',
  'src/cbt/big-endian.ts',
  'src/cbt/dirty-bitmap.ts',
  'src/cli/unpacked-program.ts',
  'src/core/digest-set.ts',
  'src/core/slot-block.ts',
  'src/manifest/page-codec.ts',
  'src/native/zstd.ts',
  'src/target/target-guard.ts',
  'test/**/*.ts',
]

export default defineConfig(
  globalIgnores(['dist/', 'build/', 'mover-demo/', 'native/']),
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-bitwise': 'error',
      'no-constant-binary-expression': 'error',
      'no-console': 'error',
      'no-fallthrough': 'error',
      'no-self-compare': 'error',
      'no-template-curly-in-string': 'error',
      'no-unused-vars': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { project: 'test/tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      'no-unused-vars': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      // `await using _session` is held for what happens when it goes.
      '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^_' }],
      // An async method may be so for its rejection alone, or because its interface is.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
    },
  },
  {
    // tap waits for its own subtests.
    files: ['test/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': 'off',
      'no-console': 'off',
    },
  },
  { files: ['scripts/**/*.mjs', 'src/cli/single-binary.ts'], rules: { 'no-console': 'off' } },
  { files: BIT_LEVEL, rules: { 'no-bitwise': 'off' } },
)

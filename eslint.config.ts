import tseslint from 'typescript-eslint'

const outsideThePlatform =
  'Only src/platform/ touches clocks, chance, files, sockets and processes: the simulator dies of one call that goes around it.'

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '.ndfs', '*.cjs', 'eslint.config.ts'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/only-throw-error': 'error',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    // What the simulator runs must be deterministic: see DESIGN section 11.
    files: ['src/**/*.ts'],
    ignores: ['src/platform/**', 'src/local/**', 'src/**/*.test.ts', 'src/**/*.fuzz.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['setTimeout', 'setInterval', 'setImmediate', 'performance', 'process', 'crypto', 'fetch'].map(
          (name) => ({
            name,
            message: outsideThePlatform,
          }),
        ),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: outsideThePlatform },
        { object: 'Math', property: 'random', message: outsideThePlatform },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: outsideThePlatform },
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: [
            ...[
              'fs',
              'fs/promises',
              'net',
              'dgram',
              'http',
              'https',
              'os',
              'timers',
              'timers/promises',
            ].flatMap((name) => [
              { name, message: outsideThePlatform },
              {
                name: `node:${name}`,
                message: outsideThePlatform,
                // What addresses are, and which network they are in: no call of the machine.
                ...(name === 'net' ? { allowImportNames: ['BlockList', 'isIP'] } : {}),
              },
            ]),
            ...['child_process', 'worker_threads', 'perf_hooks', 'process', 'cluster'].map((name) => ({
              name: `node:${name}`,
              message: outsideThePlatform,
            })),
          ],
        },
      ],
    },
  },
  {
    files: ['**/*.test.ts', 'test/**', 'bench/**', 'scripts/**', 'cli/**', 'sim/**'],
    rules: {
      'no-console': 'off',
      // node:test's describe and test return promises that the runner awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', name: ['test', 'describe', 'it', 'suite'], package: 'node:test' },
          ],
        },
      ],
    },
  },
)

/**
 * Who may import whom (docs/ARCHITECTURE.md): only rungs below one's own, never a sibling, no circles; and of another
 * component only the file that bears its name, its contract. Type imports count.
 */
const rungs = [
  ['base'],
  ['platform'],
  ['peer', 'disk'],
  ['zeus'],
  ['medusa'],
  ['stargate/io'],
  ['stargate/oplog', 'stargate/extent-store', 'stargate/extent-cache', 'stargate/partition-changes'],
  ['stargate/vdisk-controller', 'stargate/namespace', 'stargate/file-locks'],
  ['stargate/admission-control'],
  ['stargate/front-end-adapter', 'curator'],
  ['management'],
  ['local'],
]
const components = rungs.flat()
const inside = (component) => `^src/${component}/`
const contractOf = (component) => `^src/${component}/${component.split('/').at(-1)}\\.ts$`
const tests = '\\.(test|fuzz)\\.ts$|-contract-suite\\.ts$'

// `base` is a vocabulary: all of its files are contract. What builds the parts may name the builders.
const open = ['base']
const joiners = '^src/[^/]+\\.ts$|^src/local/'

export default {
  forbidden: [
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    ...rungs.flatMap((rung, height) =>
      rung.map((component) => ({
        name: `${component}-imports-only-downward`,
        severity: 'error',
        from: { path: inside(component), pathNot: tests },
        to: {
          path: [...rungs.slice(height).flat().filter((other) => other !== component).map(inside), '^src/[^/]+\\.ts$'],
          ...(component === 'local' ? { pathNot: '^src/[^/]+\\.ts$' } : {}),
        },
      })),
    ),
    ...components
      .filter((component) => !open.includes(component))
      .map((component) => ({
        name: `only-the-contract-of-${component}`,
        severity: 'error',
        from: { path: '^src/', pathNot: [inside(component), joiners, tests] },
        to: { path: inside(component), pathNot: contractOf(component) },
      })),
    { name: 'src-knows-nothing-of-sim', severity: 'error', from: { path: '^src/', pathNot: '\\.engines\\.test\\.ts$' }, to: { path: '^(sim|test|bench|scripts)/' } },
    {
      name: 'cli-is-a-client',
      severity: 'error',
      from: { path: '^cli/', pathNot: tests },
      to: { path: '^src/', pathNot: '^src/(base|management/management\\.ts|local/)' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: 'node_modules|^dist/' },
  },
}

/** Planted bugs of files and directories, and of the door that they are used by. */
import { files, patch, type PlantedBug } from './planted-bug.ts'

const namespace = 'stargate/namespace'
const nfs = 'stargate/front-end-adapter/nfs'

export const fileBugs: readonly PlantedBug[] = [
  {
    name: 'name moved whatever happened to it since',
    breaks: 'I2',
    does: 'A rename does not look whether the names of its inode have changed since it was prepared.',
    plan: files,
    patches: [
      patch(
        `${namespace}/rename.ts`,
        'if (!lists(row, from.directory, from.name) || row.generation !== generation)',
        'if (!lists(row, from.directory, from.name))',
      ),
    ],
  },
  {
    name: 'replaced without being held',
    breaks: 'I2',
    does: 'What a rename replaces can be renamed itself meanwhile, to the name of what replaces it.',
    plan: files,
    patches: [
      patch(
        `${namespace}/rename.ts`,
        'if (target) await hold(parts, source.current, target, to)',
        "if (target?.row.type === 'directory') await hold(parts, source.current, target, to)",
      ),
    ],
  },
  {
    name: 'entry put back without the own inode',
    breaks: 'I2',
    does: 'A rename that is given up takes its inode out of the entry, though another node may have made it count there.',
    plan: files,
    patches: [
      patch(`${namespace}/rename.ts`, 'stays: over?.candidates ?? []', 'stays: target ? [target.id] : []'),
    ],
  },
  {
    name: 'name believed missing at the first look',
    breaks: 'I2',
    does: 'A lookup that meets no inode that has the name looks no second time, and one may have got it behind its back.',
    scenario: { file: 'sim/scenarios/files.test.ts', tests: 'a name that passes from one file' },
    patches: [
      patch(
        `${namespace}/lookup.ts`,
        'if (seen?.stamp === entry.stamp && seen.current === current?.id) return current',
        'if (seen === undefined) return current',
      ),
    ],
  },
  {
    name: 'closed directory entered',
    breaks: 'I2',
    does: 'Something is entered in a directory that was found empty, and is about to be replaced.',
    scenario: { file: 'sim/scenarios/files.test.ts', tests: 'what is created in a directory' },
    patches: [
      patch(
        `${namespace}/entries.ts`,
        "if (directory.closedFor) return { state: 'closed', directory }",
        "if (directory.closedFor && id === 0) return { state: 'closed', directory }",
      ),
    ],
  },
  {
    name: 'directory removed as it was',
    breaks: 'I2',
    does: 'A directory that was found empty is removed, whatever was entered in it since.',
    scenario: {
      file: 'src/stargate/namespace/together.test.ts',
      tests: 'namespace lets only one of removing a directory',
    },
    patches: [
      patch(
        `${namespace}/closing.ts`,
        'if (!view.untouched || view.nextVersion !== at.version + 1) throw',
        'if (!view.untouched) throw',
      ),
    ],
  },
  {
    name: 'directories moved at once',
    breaks: 'I2',
    does: 'Directories go to other parents without waiting for their turn, and two may go into each other.',
    plan: files,
    patches: [
      patch(
        `${namespace}/rename.ts`,
        'return moves.inTurn(id, row.generation, to.directory, make)',
        'return make()',
      ),
    ],
  },
  {
    name: 'prepared operation not made impossible',
    breaks: 'I2',
    does: 'Who settles an entry waits for what somebody else has prepared, and then goes on without making it impossible.',
    scenario: { file: 'sim/scenarios/files.test.ts', tests: 'what one node has begun to make' },
    patches: [
      patch(
        `${namespace}/settle.ts`,
        'return own ? undefined : fence(parts, id, at)',
        'return own || parts !== undefined ? undefined : fence(parts, id, at)',
      ),
    ],
  },
  {
    name: 'file written while it becomes a vDisk',
    breaks: 'I2',
    does: 'A file that is being copied to its vDisk takes writes still, and they stay behind.',
    plan: files,
    patches: [
      patch(
        `${namespace}/content.ts`,
        "if (row.content?.kind !== 'inline') throw",
        "if (row.content?.kind === 'vdisk') throw",
      ),
      patch(
        `${nfs}/file-data.ts`,
        "if (content.kind === 'promoting') {",
        "if (content.kind === 'promoting' && end >= inlineBytesMax) {",
      ),
    ],
  },
  {
    name: 'promotion ended by who was replaced',
    breaks: 'I2',
    does: 'Who filled a vDisk too slowly ends the promotion though another fills it again, over what clients write from then on.',
    scenario: { file: 'sim/scenarios/files.test.ts', tests: 'M6: who fills' },
    patches: [
      patch(
        `${namespace}/attributes.ts`,
        'if (!isBeingFilled(row, vdisk, filler)) throw otherwise(id, row)\n    const { checksums',
        "if (row.content?.kind !== 'promoting') throw otherwise(id, row)\n    const { checksums",
      ),
    ],
  },
  {
    name: 'WRITE answered before the vDisk has it',
    breaks: 'I1',
    does: 'A WRITE to a file that is a vDisk is answered when it was handed to the vDisk.',
    plan: files,
    patches: [
      patch(
        `${nfs}/file-data.ts`,
        'try {\n          await vdisk.write(offset as VDiskOffset, payload())',
        'try {\n          void Promise.resolve(vdisk.write(offset as VDiskOffset, payload())).catch(() => undefined)',
      ),
    ],
  },
  {
    name: 'size told from the inode',
    breaks: 'I2',
    does: "The size of a vDisk's file is told as it was noted last, not as its owner has it.",
    plan: files,
    patches: [
      patch(
        `${nfs}/file-data.ts`,
        'after(vdisk.now(), (now) => asChanged(inode, now)),',
        'after(vdisk.now(), () => inode),',
      ),
    ],
  },
  {
    name: 'file grown from the size in the inode',
    breaks: 'I2',
    does: "A write behind the end that the inode has noted sets the vDisk's size, though it has become longer since.",
    plan: files,
    patches: [
      patch(
        `${nfs}/file-data.ts`,
        'if (end > vdisk.lastKnown.sizeBytes) await vdisk.grow(end)',
        'if (end > inode.sizeBytes) await vdisk.resize(end)',
      ),
    ],
  },
  {
    name: 'answers of calls not kept',
    breaks: 'I2',
    does: 'A call that comes again after it was answered is done again.',
    plan: files,
    patches: [
      patch(
        `${nfs}/duplicate-requests.ts`,
        'if (answered !== undefined) {',
        'if (answered !== undefined && answered.since < 0) {',
      ),
    ],
  },
]

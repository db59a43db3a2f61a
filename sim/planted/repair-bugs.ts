/** Planted bugs of repair: what is a copy, when it counts, where it may lie, and what is unlinked. */
import type { Plan } from '../simulate.ts'
import { patch, type PlantedBug } from './planted-bug.ts'

const copyRepair = 'stargate/vdisk-controller/copy-repair.ts'
const unitTests = 'src/stargate/vdisk-controller/repair.test.ts'
const scenarios = 'sim/scenarios/major/repair.test.ts'

/** Nodes come, go, and stay away, while groups lie on all of them. */
const deaths: Partial<Plan> = {
  nodes: 4,
  copies: 2,
  vdisks: 2,
  sectors: 1024,
  lossesMax: 1,
  troubles: { kill: 4, 'power cut': 4, loss: 2, 'failed sync': 1 },
  troubleEveryMs: [100, 2_000],
}

export const repairBugs: readonly PlantedBug[] = [
  {
    name: 'row swapped before the new copy is there',
    breaks: 'I3',
    does: 'The row comes to name the new copy while that is being written.',
    patches: [
      patch(
        copyRepair,
        'const rebuilt = await extents.rebuildCopy(access, last, trailer, arriving)\n',
        'let told = (_: CopyRef | undefined): void => undefined, plan = new Promise<CopyRef | undefined>((resolve) => (told = resolve)), made = extents.rebuildCopy(access, last, trailer, () => arriving().then((copy) => (told(copy), copy))), rebuilt = await Promise.race([plan, made])\n',
      ),
      patch(
        copyRepair,
        'const row = await index.swapCopy(group, seen, old, rebuilt, target.tier)\n',
        'const row = await index.swapCopy(group, seen, old, rebuilt, target.tier).finally(() => made)\n',
      ),
    ],
    plan: deaths,
  },
  {
    name: 'new copy not synced',
    breaks: 'I3',
    does: 'A copy of an extent group counts as written before it is on stable media.',
    patches: [
      patch(
        'stargate/extent-store/local-extents.ts',
        'await Promise.all([file.sync(), opened.named])',
        'await Promise.all([epoch > partsOfGroupId(group).epoch ? undefined : file.sync(), opened.named])',
      ),
    ],
    plan: deaths,
  },
  {
    name: 'copy counted that no row names',
    breaks: 'I1',
    does: 'Who surveys the index takes the newest copies in it for those that count, whether the row names them or not.',
    patches: [
      patch(
        'stargate/vdisk-controller/group-copies.ts',
        'if (named.length > copiesWanted) this.#unsettled.add(group)\n    else\n      this.known(\n        group,\n        named,\n',
        'this.known(group, [named[0], ...named.slice(copiesWanted)],\n\n\n\n\n',
      ),
    ],
    scenario: { file: scenarios, tests: 'I1: an owner that ends at any step' },
  },
  {
    name: 'copy unlinked on the word of a row that may still change',
    breaks: 'I3',
    does: 'What an earlier owner left is unlinked without a look at whether its swap may still come.',
    patches: [
      patch(
        copyRepair,
        'const { row } = await index.readFenced(group)\n',
        'const row = await index.read(group)\n',
      ),
    ],
    scenario: { file: unitTests, tests: 'a swap of an owner that is gone' },
  },
  {
    name: 'vDisks that nobody owns are not repaired',
    breaks: 'I1',
    does: 'A death changes nothing for a vDisk without an owner.',
    patches: [
      patch(
        'curator/idle-repair.ts',
        'if (await needsRepair(vdisk, before?.losses !== now.losses))',
        'if (await needsRepair(vdisk, false))',
      ),
    ],
    scenario: { file: scenarios, tests: 'I1: so are those of vDisks that nobody owns' },
  },
  {
    name: 'new copy beside one that is gone',
    breaks: 'I1',
    does: 'A copy is placed on a node of which another disk, gone for now, holds a copy that the row still names.',
    patches: [
      patch(
        copyRepair,
        'const beside = row.copies.filter((copy) => copy !== old)\n',
        'const beside = row.copies.filter((copy) => !this.#context.isGone(copy))\n',
      ),
    ],
    scenario: { file: scenarios, tests: 'I1: where disks of two nodes are gone' },
  },
]

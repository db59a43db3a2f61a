/** Ceph from Debian's packages: a monitor, a manager, three OSDs with BlueStore on files, and an image of RADOS Block Device (rbd). */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../test/support/cluster.ts'
import { run, until } from '../../test/support/run.ts'
import { answers, Daemons } from '../daemons.ts'
import { imageMiB, type Job, type JobId } from '../jobs.ts'
import { said } from '../machine.ts'
import { residentBytes } from '../../test/support/resident-memory.ts'
import type { Resident, Target, TargetNotes } from '../target.ts'

const osds = [0, 1, 2]
const pool = 'bench'
const image = 'image'
const groups = 64
const GiB = 1024 ** 3
/** Of each OSD's file: the image twice over three, and as much again for what is being overwritten. */
const osdMiB = 4096
/** What Ceph takes by default, where the machine has it. */
const memoryTarget = Math.min(4 * GiB, Math.floor(totalmem() / 6))
const upSeconds = 90

export class Ceph implements Target {
  readonly name = 'Ceph'
  readonly jobs: readonly JobId[] = [
    'sequential-write',
    'sequential-read',
    'random-read-d1',
    'random-read-d32',
    'random-write-d1',
    'random-write-d32',
    'shifted-write-d32',
    'mix-d32',
  ]
  readonly notes: TargetNotes = {
    version: said('ceph', '--version'),
    setup:
      `three OSDs, BlueStore on files that were written full before, two copies, ${groups} placement groups, fio's rbd engine. ` +
      'In its favour: no authentication, no debug logging, no scrubs, a thread for each processor, settings for SSDs, but small writes through its ' +
      `log (one sync each, not two), osd_memory_target ${(memoryTarget / GiB).toFixed(1)} GiB, caches dropped before cold reads only`,
    durable:
      'each write is on stable media of two OSDs before it is acknowledged (rbd_cache is off: it acknowledges from memory)',
  }
  readonly clientEnv: NodeJS.ProcessEnv
  readonly #folder: string
  readonly #daemons: Daemons

  constructor(root: string) {
    this.#folder = join(root, 'ceph')
    this.clientEnv = { CEPH_CONF: join(this.#folder, 'ceph.conf') }
    this.#daemons = new Daemons(this.#folder, this.clientEnv)
  }

  async start(): Promise<void> {
    mkdirSync(this.#folder)
    const port = await freePorts(1)
    const fsid = randomUUID()
    writeFileSync(join(this.#folder, 'ceph.conf'), configuration(this.#folder, fsid, port))
    await this.#startMonitor(fsid, port)
    const manager = join(this.#folder, 'mgr')
    mkdirSync(manager)
    this.#daemons.start('manager', 'ceph-mgr', '-f', '-i', 'x', '--mgr-data', manager)
    for (const flag of ['noscrub', 'nodeep-scrub']) await this.#ceph('osd', 'set', flag)
    for (const osd of osds) await this.#startOsd(osd)
    await this.#ceph('osd', 'pool', 'create', pool, String(groups), String(groups), '--autoscale-mode=off')
    await this.#ceph('osd', 'pool', 'application', 'enable', pool, 'rbd')
    await until('the placement groups of Ceph are active and clean', () => this.#isClean(), upSeconds, 500)
    await this.#daemons.tool('rbd', 'create', `${pool}/${image}`, '--size', `${imageMiB}M`)
  }

  async #startMonitor(fsid: string, port: number): Promise<void> {
    const data = join(this.#folder, 'mon')
    const map = join(this.#folder, 'monmap')
    const address = `[v2:127.0.0.1:${port}]`
    await this.#daemons.tool('monmaptool', '--create', '--addv', 'a', address, '--fsid', fsid, map)
    await this.#daemons.tool('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map, '--mon-data', data)
    const monitor = this.#daemons.start('monitor', 'ceph-mon', '-f', '-i', 'a', '--mon-data', data)
    await monitor.until('it answers', () => answers(this.#ceph('mon', 'stat')), upSeconds)
  }

  async #startOsd(osd: number): Promise<void> {
    const data = join(this.#folder, `osd.${osd}`)
    const block = join(data, 'block')
    mkdirSync(data)
    // Written, and not only reserved: the file system would change its own metadata at each first write.
    await run('dd', ['if=/dev/zero', `of=${block}`, 'bs=4M', `count=${osdMiB / 4}`, 'oflag=direct'], {
      seconds: 600,
    })
    truncateSync(block, osdMiB * 1024 ** 2)
    const uuid = randomUUID()
    await this.#ceph('osd', 'new', uuid, String(osd))
    const words = ['-i', String(osd), '--osd-data', data, '--osd-uuid', uuid]
    await this.#daemons.tool('ceph-osd', ...words, '--mkfs')
    this.#daemons.start(`osd.${osd}`, 'ceph-osd', '-f', ...words)
    await until(`OSD ${osd} of Ceph is up`, () => this.#isUp(osd), upSeconds, 500)
  }

  async #isUp(osd: number): Promise<boolean> {
    const tree = JSON.parse(await this.#ceph('osd', 'dump', '--format=json')) as {
      readonly osds: readonly { readonly osd: number; readonly up: number }[]
    }
    return tree.osds.some((each) => each.osd === osd && each.up === 1)
  }

  async #isClean(): Promise<boolean> {
    const status = JSON.parse(await this.#ceph('pg', 'stat', '--format=json')) as {
      readonly pg_summary: { readonly num_pgs: number; readonly num_pg_by_state: readonly PgState[] }
    }
    const { num_pgs, num_pg_by_state } = status.pg_summary
    return num_pgs >= groups && num_pg_by_state.every(({ name }) => name === 'active+clean')
  }

  #ceph(...args: string[]): Promise<string> {
    return this.#daemons.tool('ceph', '--connect-timeout', '20', ...args)
  }

  async place({ from }: Pick<Job, 'from'>): Promise<readonly string[]> {
    if (from === 'disk') for (const osd of osds) await this.#ceph('tell', `osd.${osd}`, 'cache', 'drop')
    return ['ioengine=rbd', 'clientname=admin', `pool=${pool}`, `rbdname=${image}`]
  }

  async settled(): Promise<void> {}

  pids(): readonly number[] {
    return this.#daemons.pids()
  }

  async memory(): Promise<readonly Resident[]> {
    const processes = this.#daemons.all().filter(({ command }) => command.includes('ceph-osd'))
    const of = async (osd: number): Promise<Resident> => {
      const found = processes.find(({ command }) => command.includes(` -i ${osd} `))
      if (found === undefined) throw new Error(`Cannot tell the memory of Ceph's OSD ${osd}: it has ended.`)
      const pools = JSON.parse(await this.#ceph('tell', `osd.${osd}`, 'dump_mempools')) as {
        readonly mempool: { readonly by_pool: { readonly bluestore_cache_data: { readonly bytes: number } } }
      }
      const cacheBytes = pools.mempool.by_pool.bluestore_cache_data.bytes
      return { process: `osd.${osd}`, bytes: residentBytes(found.pid) - cacheBytes, cacheBytes }
    }
    return Promise.all(osds.map(of))
  }

  async stop(): Promise<void> {
    await this.#daemons.stopAll()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

interface PgState {
  readonly name: string
}

/**
 * Nothing of it lies, or listens, where a Ceph that belongs to this machine would.
 *
 * Tried on two processors, against the settings for SSDs as they are: small writes deferred, that is into its log first, made random writes at
 * d1 faster by half and more; as few threads as there are processors, those at d32.
 */
const configuration = (folder: string, fsid: string, port: number): string => `[global]
fsid = ${fsid}
mon_host = [v2:127.0.0.1:${port}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run_dir = ${folder}
admin_socket = ${folder}/$name.$pid.asok
log_file = ${folder}/$name.log
crash_dir = ${folder}/crash
osd_pool_default_size = 2
osd_pool_default_min_size = 2
osd_crush_chooseleaf_type = 0
mon_allow_pool_delete = true
${quiet.map((subsystem) => `debug_${subsystem} = 0/0`).join('\n')}
[osd]
osd_memory_target = ${memoryTarget}
bluestore_debug_enforce_settings = ssd
bluestore_prefer_deferred_size = 32768
osd_op_num_shards = ${Math.min(8, availableParallelism())}
osd_op_num_threads_per_shard = 1
ms_async_op_threads = ${Math.min(3, Math.ceil(availableParallelism() / 2))}
[client]
rbd_cache = false
`

/** Those that are chatty in the way of a request, or beside it. */
const quiet = [
  ...['ms', 'osd', 'filer', 'rados', 'rbd', 'objecter', 'monc', 'mon', 'paxos', 'mgr', 'mgrc', 'auth', 'tp'],
  ...['bluestore', 'bluefs', 'bdev', 'rocksdb', 'leveldb', 'throttle', 'perfcounter', 'asok', 'optracker'],
  ...['timer', 'finisher', 'heartbeatmap', 'objclass', 'context', 'crush', 'buffer', 'lockdep', 'none'],
]

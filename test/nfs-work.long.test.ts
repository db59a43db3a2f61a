/** Programs that were not written for this, at work in a guest that has a container mounted by two nodes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import {
  debianFiles,
  debianKernel,
  guestNetwork,
  makeInitramfs,
  networkGuestWords,
  nfsModules,
  nfsMount,
} from './support/guest.ts'
import { figure, run, type Service } from './support/run.ts'
import { without } from './support/tools.ts'

const skip = without('qemu-system-x86_64', 'busybox', 'depmod', 'apt-get', 'ldd', 'fio', 'sqlite3')

/** What /mnt/a does is seen by /mnt/b, which asks each time whether what it remembers is old; `told` says how long a step took. */
const bothMounts = (cluster: Cluster): string => `
set -e
${guestNetwork}
${nfsMount(cluster, 'n1', '/mnt/a')}
${nfsMount(cluster, 'n2', '/mnt/b', ',noac')}
told() { echo "TOLD $1 after $(($(date +%s) - begun)) s"; begun=$(date +%s); }
begun=$(date +%s)
echo MOUNTED
`

/** The sum of main.c below. */
const sum = Array.from({ length: 1999 }, (_, i) => i + 1).reduce(
  (total, i) => total + Math.sin(i) * i ** 0.3 + Math.exp(-i / 100) + Math.log(i) - Math.cbrt(i),
  0,
)

/** newlib's mathematics, of 124 C files; two more are not for tcc. */
const building = (cluster: Cluster, seed: number): string => `
${bothMounts(cluster)}
cd /mnt/a
tar -xf /tree.tar
rm libm/common/s_ilogb.c libm/common/s_remquo.c
told UNPACKED
mkdir objects
cat > main.c <<'END'
extern int printf(const char *, ...);
extern double sin(double), pow(double, double), exp(double), log(double), cbrt(double);
static int number;
int *__errno(void) { return &number; }
int main(void) {
  double sum = 0;
  for (int i = 1; i < 2000; i++) sum += sin(i) * pow(i, 0.3) + exp(-i / 100.0) + log(i) - cbrt(i);
  return printf("SUM %.12f\\n", sum), 0;
}
END
words="-D__INTPTR_TYPE__=long -D__INT32_TYPE__=int -nostdinc -I/usr/lib/x86_64-linux-gnu/tcc/include -Ilibc/include -Ilibm/common"
compile() {
  for file in libm/$1/*.c; do
    name=\${file##*/}
    tcc $words -w -c -o objects/\${name%.c}.o $file
    echo "COMPILED $name"
  done
}
compile math > /tmp/math & compile common
wait
told COMPILED
ls objects | wc -l | sed 's/^/OBJECTS /'
tcc -ar rcs libm.a objects/*.o
tcc -o program main.c libm.a
told LINKED
cd /mnt/b && ./program
mkdir /tmp/tree && tar -xf /tree.tar -C /tmp/tree
diff -r /tmp/tree/libm/math libm/math && echo SAME
tcc -o /bin/random-file /random-file.c
told COMPARED
echo "SEED ${seed}"; random-file /mnt/a/random /mnt/b/random ${seed} 300 | sed 's/^/RANDOM /'
told RANDOM
cd /
for words in '--rw=write --size=640k' '--rw=randwrite --size=1m'; do
  all="--name=grows --bs=4k --direct=1 --verify=crc32c --thread --eta=never --output=/tmp/fio $words"
  fio $all --filename=/mnt/a/grows --do_verify=0 || cat /tmp/fio
  fio $all --filename=/mnt/b/grows --verify_only && echo "VERIFIED $words" || cat /tmp/fio
done
told VERIFIED
umount /mnt/a && umount /mnt/b && echo UNMOUNTED
`

/** What tcc needs in the guest beside itself, and what it compiles there. */
async function compilerFiles(tcc: string, scratch: string): Promise<Record<string, string>> {
  const sources = await debianFiles('newlib-source')
  const tree = join(scratch, 'tree')
  mkdirSync(tree)
  const archive = join(sources, 'usr/src/newlib')
  const [name] = readdirSync(archive)
  const wanted = ['libm/math', 'libm/common', 'libc/include']
  const within = 'newlib-salsa/newlib'
  await run('tar', [
    ...['-xJf', join(archive, name), '-C', tree, '--strip-components', '2'],
    // Without those for `float` and `long double`.
    ...['--exclude', '*/libm/*/?f_*', '--exclude', '*/libm/*l.c'],
    ...wanted.map((folder) => `${within}/${folder}`),
  ])
  await run('tar', ['-cf', join(scratch, 'tree.tar'), '-C', tree, ...wanted])
  const libraries = 'usr/lib/x86_64-linux-gnu'
  const names = ['crt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libc_nonshared.a', 'tcc/libtcc1.a']
  const headers = readdirSync(join(tcc, libraries, 'tcc/include')).map((header) => `tcc/include/${header}`)
  return {
    ...Object.fromEntries(
      [...names, ...headers].map((each) => [`${libraries}/${each}`, join(tcc, libraries, each)]),
    ),
    // Where libc.so.6 itself looks for it.
    'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2': '/lib64/ld-linux-x86-64.so.2',
    'tree.tar': join(scratch, 'tree.tar'),
    'random-file.c': join(import.meta.dirname, 'support/random-file.c'),
  }
}

test(
  'a source tree is built on a container, its program is right; random operations and fio are right by another node; a killed node is no more than a delay (R1 R10 R16 R18)',
  { skip, timeout: 600_000 },
  () =>
    withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const kernel = await debianKernel(nfsModules)
      const initramfs = join(cluster.scratch, 'work.gz')
      const tcc = await debianFiles('tcc', 'libc6-dev')
      const files = await compilerFiles(tcc, cluster.scratch)
      const programs = ['/usr/bin/fio', join(tcc, 'usr/bin/tcc')]
      await makeInitramfs(initramfs, kernel, programs, building(cluster, Date.now() % 1_000_000), files)
      const begun = performance.now()
      const guest = cluster.service('qemu-system-x86_64', networkGuestWords(kernel, initramfs))
      await said(guest, 'COMPILED s_', 240)
      await cluster.kill('n1')
      await cluster.startNode('n1')
      await said(guest, 'TOLD COMPARED', 240)
      await said(guest, 'GUEST-ENDED', 240)
      const { output } = guest
      for (const [, step] of output.matchAll(/TOLD (.*)\r/g)) figure(`in a guest on NFS: ${step}`)
      figure(`all of it in ${((performance.now() - begun) / 1000).toFixed(0)} s`)
      for (const right of ['OBJECTS 124', 'SAME', 'RANDOM GOOD', 'UNMOUNTED'])
        assert.ok(output.includes(right), `not ${right}:\n${output}`)
      assert.equal([...output.matchAll(/VERIFIED --/g)].length, 2, output)
      const [, told] = /SUM (\S+)/.exec(output) ?? []
      assert.ok(Math.abs(Number(told) - sum) < 1e-8, `${told}, not ${sum}`)
    }),
)

const transactions = 1000

/** One transaction after the other, from where the database stands; each is told when it is committed. */
const banking = (cluster: Cluster): string => `
${bothMounts(cluster)}
cd /mnt/a
[ -s bank.db ] || sqlite3 bank.db 'create table t(n integer primary key, bytes blob)'
echo "JOURNAL $(sqlite3 bank.db 'pragma journal_mode')"
echo "CHECK $(sqlite3 bank.db 'pragma integrity_check')"
last=$(sqlite3 bank.db 'select coalesce(max(n), 0) from t')
echo "HELD $last $(sqlite3 bank.db 'select count(*) from t')"
for n in $(seq $((last + 1)) ${transactions}); do
  echo "insert into t values($n, randomblob(800)); select 'DONE $n';"
done | sqlite3 bank.db
told TRANSACTIONS
cd /mnt/b
echo "CHECK-ELSEWHERE $(sqlite3 -readonly bank.db 'pragma integrity_check')"
echo "HELD-ELSEWHERE $(sqlite3 -readonly bank.db 'select count(*) from t') of $(stat -c %s bank.db)"
cd / && umount /mnt/a && umount /mnt/b && echo UNMOUNTED
`

test(
  'SQLite on a container: a guest that loses its power in the middle of transactions has all that were committed, and goes on while its node is killed (R1 R10 R18)',
  { skip, timeout: 600_000 },
  () =>
    withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const kernel = await debianKernel(nfsModules)
      const initramfs = join(cluster.scratch, 'bank.gz')
      await makeInitramfs(initramfs, kernel, ['/usr/bin/sqlite3'], banking(cluster))
      const words = networkGuestWords(kernel, initramfs)
      const first = cluster.service('qemu-system-x86_64', words)
      await said(first, 'DONE 400', 300)
      const closed = once(first.child, 'close')
      first.child.kill('SIGKILL')
      await closed
      const committed = last(first.output, /DONE (\d+)\r/g)

      const second = cluster.service('qemu-system-x86_64', words)
      await said(second, 'HELD ', 120)
      await said(second, 'DONE ', 60)
      const begun = second.output
      assert.match(begun, /JOURNAL delete/)
      assert.match(begun, /CHECK ok/)
      const [, highest, count] = /HELD (\d+) (\d+)/.exec(begun) ?? []
      assert.ok(Number(highest) >= committed, `${committed} were committed, ${highest} are there`)
      assert.equal(count, highest)
      await said(second, 'DONE 600', 300)
      await cluster.kill('n1')
      await cluster.startNode('n1')
      await said(second, 'GUEST-ENDED', 300)
      const { output } = second
      assert.match(output, /CHECK-ELSEWHERE ok/)
      const [, all, bytes] = /HELD-ELSEWHERE (\d+) of (\d+)/.exec(output) ?? []
      assert.equal(Number(all), transactions, output)
      assert.ok(Number(bytes) > 512 * 1024, 'it became a vDisk meanwhile')
      assert.match(output, /UNMOUNTED/)
      figure(
        `SQLite on NFS in a guest: ${Number(highest)} and ${transactions - Number(highest)} transactions, ${/TOLD (.*)\r/.exec(output)?.[1]}`,
      )
    }),
)

/** What ESXi does with its lock files by NFS version 3, in seconds instead of tens of them; a and b are two hosts at two nodes. */
const locking = (cluster: Cluster): string => `
set -e
${guestNetwork}
${nfsMount(cluster, 'n1', '/mnt/a', ',noac')}
${nfsMount(cluster, 'n2', '/mnt/b', ',noac')}
mkdir /mnt/a/vm
echo disk > /mnt/a/vm/flat.vmdk
id=$(stat -c %i /mnt/a/vm/flat.vmdk)
[ $(stat -c %i /mnt/b/vm/flat.vmdk) = $id ] && echo SAME-ID
lock=vm/.lck-$(printf %016x $id | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\(..\\)\\(..\\)/\\8\\7\\6\\5\\4\\3\\2\\1/')
echo "LOCK $lock"
content() { printf 'HOST-%s BEAT %05d' $1 $2 | dd bs=84 count=1 conv=sync 2>/dev/null; }
take() { (set -C; content $1 0 > /mnt/$1/$lock) 2>/dev/null; }
beat() { content $1 $2 | dd of=/mnt/$1/$lock bs=84 conv=notrunc 2>/dev/null; }
read_by() { tr -d '\\0' < /mnt/$1/$lock; }

# Both want it at once: one gets it.
for round in $(seq 20); do
  rm -f /tmp/won
  for host in a b; do (take $host && echo $host >> /tmp/won) & done
  wait
  won=$(cat /tmp/won)
  for host in a b; do
    [ "$(read_by $host)" = "HOST-$won BEAT 00000" ] || echo "WRONG in round $round: $won, $(read_by $host)"
  done
  rm /mnt/$won/$lock
done
echo RACED

# Its holder writes it anew each second; who reads it twice sees that, and never half of it.
take a
(for i in $(seq 8); do sleep 1; beat a $i; done) &
take b && echo 'WRONG: taken twice'
before=$(read_by b)
sleep 2
[ "$(read_by b)" = "$before" ] || echo ALIVE
for i in $(seq 20); do
  [ $(wc -c < /mnt/b/$lock) = 84 ] || echo 'WRONG: not whole'
  case "$(read_by b)" in 'HOST-a BEAT 0000'?) ;; *) echo "WRONG: $(read_by b)" ;; esac
done
wait

# The holder is dead: it stays as it is. Of two that break it one does, and takes it.
before=$(read_by b)
sleep 3
[ "$(read_by b)" = "$before" ] && echo STALE
for host in a b; do (mv /mnt/$host/$lock /mnt/$host/$lock.$host 2>/dev/null && echo $host >> /tmp/broke) & done
wait
broke=$(cat /tmp/broke)
rm /mnt/$broke/$lock.$broke
take $broke
for host in a b; do
  [ "$(read_by $host)" = "HOST-$broke BEAT 00000" ] || echo "WRONG: $broke broke it, $(read_by $host) has it"
done
[ "$(ls -A /mnt/a/vm | wc -l) $(ls -A /mnt/b/vm | wc -l)" = '2 2' ] && echo TAKEN

# Appended by turns, byte by byte, while it becomes a vDisk.
head -c $((512 * 1024 - 20)) /dev/zero > /mnt/a/log
for i in $(seq 20); do printf a >> /mnt/a/log; printf b >> /mnt/b/log; done
for host in a b; do
  [ $(wc -c < /mnt/$host/log) = $((512 * 1024 + 20)) ] || echo "WRONG: $(wc -c < /mnt/$host/log) bytes"
  [ $(tail -c 40 /mnt/$host/log) = $(printf 'ab%.0s' $(seq 20)) ] && echo "APPENDED-$host"
done
umount /mnt/a && umount /mnt/b && echo UNMOUNTED
`

test(
  "ESXi's lock files, by two nodes: one of two gets the lock, its heartbeat is seen whole, and a stale lock is broken by one; bytes appended by turns are right (R10 R16)",
  { skip, timeout: 300_000 },
  () =>
    withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const kernel = await debianKernel(nfsModules)
      const initramfs = join(cluster.scratch, 'locks.gz')
      await makeInitramfs(initramfs, kernel, [], locking(cluster))
      const guest = cluster.service('qemu-system-x86_64', networkGuestWords(kernel, initramfs))
      await said(guest, 'GUEST-ENDED', 200)
      const { output } = guest
      assert.doesNotMatch(output, /WRONG/)
      assert.match(output, /LOCK vm\/\.lck-[0-9a-f]{16}\r/)
      for (const right of [
        'SAME-ID',
        'RACED',
        'ALIVE',
        'STALE',
        'TAKEN',
        'APPENDED-a',
        'APPENDED-b',
        'UNMOUNTED',
      ])
        assert.ok(output.includes(right), `not ${right}:\n${output}`)
    }),
)

const last = (output: string, what: RegExp): number => Number([...output.matchAll(what)].at(-1)?.[1] ?? 0)

const said = (guest: Service, what: string, seconds: number): Promise<void> =>
  guest.until(`it says ${what}`, () => guest.output.includes(what), seconds)

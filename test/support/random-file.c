/*
 * Random operations on a file, against a copy in memory; what another mount of the same file shows, which remembers what it has read, is
 * compared now and then, after it was opened there (close to open).
 *
 *   random-file FILE THE-SAME-ELSEWHERE SEED OPERATIONS
 *
 * Prints GOOD, or what was wrong with which operation.
 */
extern int open(const char *, int, ...), close(int), fsync(int), ftruncate(int, long), printf(const char *, ...);
extern int memcmp(const void *, const void *, unsigned long), atoi(const char *);
extern long pread(int, void *, unsigned long, long), pwrite(int, const void *, unsigned long, long);
extern void *memset(void *, int, unsigned long);

enum { bytes_max = 1536 * 1024, length_max = 64 * 1024, read_only = 0, read_write_create = 0102 };

static char content[bytes_max], seen[bytes_max]; /* behind the end: zeros */
static long size;
static unsigned long state;

static long below(long limit) {
  state = state * 6364136223846793005UL + 1442695040888963407UL;
  return (long)(state >> 33) % limit;
}

static int is_right(int file, long at, long length) {
  long expected = at >= size ? 0 : size - at < length ? size - at : length;
  return pread(file, seen, length, at) == expected && memcmp(seen, content + at, expected) == 0;
}

static int is_right_elsewhere(const char *path) {
  int file = open(path, read_only);
  int right = is_right(file, 0, bytes_max);
  close(file);
  return right;
}

static int cut(int file, long length) {
  if (length < size) memset(content + length, 0, size - length);
  size = length;
  return ftruncate(file, length) == 0;
}

static int change(int file, long at, long length) {
  for (long i = 0; i < length; i++) content[at + i] = below(256);
  if (at + length > size) size = at + length;
  return pwrite(file, content + at, length, at) == length;
}

int main(int count, char **words) {
  int file = open(words[1], read_write_create, 0644);
  state = atoi(words[3]);
  for (int i = 0; i < atoi(words[4]); i++) {
    long at = below(bytes_max - length_max), length = 1 + below(length_max);
    int kind = below(10), right;
    if (kind == 0) right = cut(file, below(bytes_max));
    else if (kind <= 3) right = is_right(file, at, length);
    else if (kind == 4) right = fsync(file) == 0 && is_right_elsewhere(words[2]);
    else right = change(file, at, length);
    if (!right) return printf("wrong: operation %d of kind %d at %ld, %ld bytes of %ld\n", i, kind, at, length, size), 1;
  }
  if (fsync(file) != 0 || !is_right_elsewhere(words[2])) return printf("wrong in the end\n"), 1;
  return printf("GOOD %ld\n", size), 0;
}

# Processes of a guest that lock files, as the console asks them to: each line is NUMBER PROCESS WORDS, its answer the line
# ANSWER NUMBER WHAT-CAME; at first it says READY. A process is begun with its first line, and does one thing after the other. fcntl locks are structs,
# here as x86-64 has them; perl-base comes without the modules that would name their constants.
#
#   create PATH, open PATH
#   lock TYPE START LENGTH       waits; TYPE is read or write, LENGTH 0 to the end
#   try-lock TYPE START LENGTH
#   unlock START LENGTH
#   flock shared|exclusive|unlock [try]
#   number                       that is in the file
#   count TIMES fcntl|flock      replaces it with the next, under a lock, so often
#   run COMMAND                  of the shell
#   end                          the process does, whatever it holds
#   interrupt PROCESS            asked of `-`: what the process waits for ends, with an error

my ($set_lock, $set_lock_wait) = (6, 7);
my %type = (read => 0, write => 1, unlock => 2);
my ($shared, $exclusive, $try, $unlock) = (1, 2, 4, 8);
$| = 1;

sub fcntl_lock {
  my ($command, $type, $start, $length) = @_;
  fcntl(FILE, $command, pack('s s x4 q q i x4', $type{$type}, 0, $start, $length, 0)) or die "refused: $!\n";
}

sub number {
  sysseek(FILE, 0, 0);
  sysread(FILE, my $number, 8);
  return $number;
}

sub count {
  my ($times, $by) = @_;
  for (1 .. $times) {
    $by eq 'flock' ? (flock(FILE, $exclusive) or die "refused: $!\n") : fcntl_lock($set_lock_wait, 'write', 0, 0);
    my $next = number() + 1;
    sysseek(FILE, 0, 0);
    syswrite(FILE, sprintf("%08d", $next)) == 8 or die "failed: $!\n";
    $by eq 'flock' ? (flock(FILE, $unlock) or die "failed: $!\n") : fcntl_lock($set_lock, 'unlock', 0, 0);
  }
}

sub answer_to {
  my ($what, @words) = @_;
  if ($what eq 'create') { open(FILE, '+>', $words[0]) or die "failed: $!\n" }
  elsif ($what eq 'open') { open(FILE, '+<', $words[0]) or die "failed: $!\n" }
  elsif ($what eq 'try-lock') { fcntl_lock($set_lock, @words) }
  elsif ($what eq 'lock') { fcntl_lock($set_lock_wait, @words) }
  elsif ($what eq 'unlock') { fcntl_lock($set_lock, 'unlock', @words) }
  elsif ($what eq 'flock') {
    my %how = (shared => $shared, exclusive => $exclusive, unlock => $unlock, try => $try);
    my $how = 0;
    $how |= $how{$_} for @words;
    flock(FILE, $how) or die "refused: $!\n";
  }
  elsif ($what eq 'number') { return 'number ' . (number() + 0) }
  elsif ($what eq 'run') { system("@words") == 0 or die "failed: $?\n" }
  elsif ($what eq 'count') { count(@words) }
  elsif ($what ne 'end') { die "unknown: $what\n" }
  return 'done';
}

sub work {
  my ($requests) = @_;
  # Without this handler the signal would end the process.
  $SIG{USR1} = sub { };
  while (my $line = <$requests>) {
    my ($number, @words) = split ' ', $line;
    my $answer = eval { answer_to(@words) } || $@;
    chomp $answer;
    syswrite(STDOUT, "ANSWER $number $answer\n");
    exit if $words[0] eq 'end';
  }
  exit;
}

my (%requests, %ids);
syswrite(STDOUT, "READY\n");
while (my $line = <STDIN>) {
  my ($number, $process, $rest) = split ' ', $line, 3;
  if ($process eq '-') {
    my (undef, $whom) = split ' ', $rest;
    kill 'USR1', $ids{$whom};
    syswrite(STDOUT, "ANSWER $number done\n");
    next;
  }
  if (!$requests{$process}) {
    pipe(my $from, my $to);
    my $id = fork;
    if ($id == 0) {
      close $to;
      work($from);
    }
    ($requests{$process}, $ids{$process}) = ($to, $id);
  }
  syswrite($requests{$process}, "$number $rest");
}

"""Words of a worker's mailbox, see `code.pool`, and their number, two cache lines."""

MAILBOX_WORDS = 16
POSTED, KERNEL, ARGS, THREAD, DONE, ASLEEP, READ_END, WRITE_END, WRITTEN, READ = range(10)

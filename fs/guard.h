/*
 * A process beside the daemon that frees the mount's programs when the daemon is killed.
 *
 * The kernel does that itself as soon as the daemon has closed the FUSE device. But a thread that
 * tells it of outdated pages (fs/notify.h) waits in there for pages that are being read, which need
 * an answer of the daemon; not even SIGKILL takes it out, the device stays open, and everybody on
 * the mount would wait for ever. So this process aborts the mount's connection (fusectl, Linux
 * Documentation/filesystems/fuse.rst) when the daemon's main thread is gone. It keeps nothing else
 * open, has no signal that ends it but SIGKILL, and is called vastfs-guard.
 *
 * Without fusectl (a user in a container that has not mounted it) there is none, and a word in the
 * log.
 */
#ifndef VASTFS_FS_GUARD_H
#define VASTFS_FS_GUARD_H

#include <sys/types.h>

/* The mount is there. Only on the daemon's main thread: its end is what is waited for. The process,
 * or a negative errno. */
pid_t guard_start(const char *mountpoint);
/* The daemon ends by itself. Nothing for a pid that is not positive. */
void guard_stop(pid_t pid);

#endif

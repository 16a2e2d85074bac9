/*
 * fs/mount/signals.h - what signals do to a mount: one thread takes them all.
 *
 *   before the mount is made   SIGTERM, SIGINT, SIGQUIT end the process at once
 *   while it serves            no file is opened for writing any more; it ends when those that are
 * open are closed, after the time that is given, or at a second signal while it winds up one more
 * ends the process at once: the next mount goes on with what is left SIGHUP                     as
 * these in a terminal's foreground, else settings are read again
 */
#ifndef ADAFS_FS_MOUNT_SIGNALS_H
#define ADAFS_FS_MOUNT_SIGNALS_H

#include "fs/mount/session.h"

struct signals;

/*
 * Block them in this thread, and so in all that it makes, and start to take them. hooks is borrowed
 * until stop. NULL: no thread, with the reason.
 */
struct signals *signals_start(struct fs *fs, const struct session_hooks *hooks,
			      struct adafs_err *reterr);
/* The mount is about to be made: from here on a signal waits for signals_serve. */
void signals_hold(struct signals *s);
/* fs->session is being served by the calling thread. */
void signals_serve(struct signals *s);
/* The session's loop is over. */
void signals_wind_up(struct signals *s);
void signals_stop(struct signals *s);

#endif

/* fs/mount/supervisor.h - words to systemd, for services of Type=notify. */
#ifndef ADAFS_FS_MOUNT_SUPERVISOR_H
#define ADAFS_FS_MOUNT_SUPERVISOR_H

/* Send to $NOTIFY_SOCKET what sd_notify(3) would, "READY=1" say. Does nothing without one. */
void supervisor_tell(const char *words);

#endif

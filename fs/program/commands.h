/* fs/program/commands.h - what `adafs` does beside mounting. Each returns the program's exit
 * status. */
#ifndef ADAFS_FS_PROGRAM_COMMANDS_H
#define ADAFS_FS_PROGRAM_COMMANDS_H

#include "fs/program/engine.h"
#include "fs/fs.h"

/* Exit status of mount(8). */
enum {
	EXIT_OK = 0,
	EXIT_USAGE = 1,  /* wrong arguments or settings */
	EXIT_SYSTEM = 2, /* memory, processes, the embedded engine */
	EXIT_INTERRUPTED = 8,
	EXIT_MOUNT = 32, /* the mount failed */
};

/* `adafs check [-o ...]`: 0 only when a mount would work. */
int command_check(int argc, char **argv);
/* `adafs status [--json] MOUNTPOINT`. */
int command_status(int argc, char **argv);
/*
 * `adafs umount`; helper: as umount(8) calls umount.fuse.adafs. argv[0] is the command's own name.
 */
int command_umount(int argc, char **argv, bool helper);

/*
 * The steps that mount and check share, in this order. Each fills what it makes into fs or returns
 * negative errno with the reason; fs_free_clients takes all of it back.
 */
/* Accounts: *ret_engine stays NULL when both services are configured. */
int setup_engine(struct options *o, struct engine **ret_engine, struct adafs_err *reterr);
/* Clients of http, blob and Batch; no threads. */
int setup_clients(struct fs *fs, const struct options *o, struct adafs_err *reterr);
/*
 * The container is there, or is made where the credential permits it. With the HTTP loop running.
 */
int setup_container(struct fs *fs, struct adafs_err *reterr);
void free_clients(struct fs *fs);

#endif

/* fs/program/options.h - the settings of a mount: configuration file, environment, -o, in this
 * order. */
#ifndef ADAFS_FS_PROGRAM_OPTIONS_H
#define ADAFS_FS_PROGRAM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "batch/azure/account.h"
#include "batch/azure/entra.h"
#include "batch/base/err.h"
#include "batch/foreman/pool_settings.h"

/* With what a mount enters. */
enum options_auth {
	AUTH_AUTO, /* a key, else a SAS, else Entra ID */
	AUTH_KEY,
	AUTH_SAS,
	AUTH_ENTRA, /* whatever key or SAS is set: by entra.kind */
};

/* All texts are owned. Filled by options_parse, cleared by options_clear. */
struct options {
	char *source;     /* as given before the mountpoint; NULL */
	char *mountpoint; /* absolute; NULL: none was given */
	bool foreground, debug;
	bool read_only;
	bool nonempty;                        /* the mount point may hold something */
	mode_t umask;                         /* permission bits that no file shows */
	char *container;                      /* default "ada" */
	char *pipeline;                       /* default "quicklook" */
	char *pool;                           /* NULL: "local" on the embedded engine */
	struct adafs_pool_settings pool_make; /* of what it is made when it is missing */
	char *dir;             /* state of the embedded emulator and the spool; absolute */
	uint64_t cache_size;   /* bytes of disk that files being written may take */
	uint64_t memory_cache; /* bytes of memory that blocks read from blobs may take */
	char *disk_cache;      /* directory that keeps them beyond the mount; NULL: none */
	uint64_t disk_cache_size;
	uint32_t block_size; /* bytes of an uploaded block, at most 4 MiB are checked by CRC on read
			      */
	bool md5;            /* also of files of several blocks: the service takes it of others */
	uint32_t poll_ms;    /* 0: the foreman's default */
	uint32_t settle_ms;  /* 0: the foreman's default */
	bool by_event;       /* the images of an event go to Batch as one job */
	char *log_level;     /* as adafs_log_set_levels reads it; NULL: the default */
	bool has_uid, has_gid; /* whom the files shall belong to, else who mounts */
	uid_t uid;
	gid_t gid;
	uint32_t io_timeout_ms; /* default 30,000 */
	double attr_timeout_s;  /* default 5 */
	int64_t keep_ms;        /* how long work of ended jobs stays; 0: the foreman's default */
	bool has_storage,
		has_batch; /* an account is configured; else the embedded engine serves it */
	struct adafs_storage_account storage;
	struct adafs_batch_account batch;
	enum options_auth auth;
	struct adafs_entra entra; /* for what has neither key nor SAS */
	char *node_identity;      /* NULL: the foreman's default */
	uint32_t sas_life_s;      /* 0: the foreman's default */
	bool sas_to_tasks;        /* nodes may be handed the user's own SAS */
	bool reads_only;          /* the SAS permits no more; read_only is set then too */
	char **fuse_args;         /* what libfuse gets, "-o" and values in turn */
	int n_fuse_args;
};

/*
 * Settings of a mount from the command line (after the program's name), the environment and
 * $XDG_CONFIG_HOME/adafs/adafs.conf. 0, or -EINVAL naming the option, where it stood and the
 * nearest known one. pool and mountpoint may be NULL afterwards: main knows whether they are
 * needed.
 */
int options_parse(struct options *o, int argc, char **argv,
		  struct adafs_err *reterr) ADAFS_MUST_CHECK;
/*
 * The same in a daemon that has left the directory in which paths were meant: paths are not made
 * absolute, accounts not put together. For what may change while mounted.
 */
int options_parse_again(struct options *o, int argc, char **argv,
			struct adafs_err *reterr) ADAFS_MUST_CHECK;
void options_clear(struct options *o);
/* The usage text of --help: the commands, and each option of the table with its default. */
void options_print_usage(FILE *to);

#endif

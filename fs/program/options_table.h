/* fs/program/options_table.h - what options there are; only for options.c, which reads them by this
 * table. */
#ifndef ADAFS_FS_PROGRAM_OPTIONS_TABLE_H
#define ADAFS_FS_PROGRAM_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

/* How the text of an option is read, and what it is stored as. */
enum option_kind {
	KIND_TEXT,
	KIND_COUNT,   /* whole number; uint32_t */
	KIND_SIZE,    /* bytes with K, M, G; uint64_t */
	KIND_SIZE32,  /* the same in uint32_t */
	KIND_MS,      /* seconds in the text, uint32_t milliseconds here */
	KIND_SECONDS, /* double */
	KIND_KEEP,    /* a duration of at least a second, or forever; int64_t milliseconds */
	KIND_FLAG,
	KIND_SWITCH,   /* on or off; bool */
	KIND_GROUPING, /* image or event; bool */
	KIND_CLEAR,    /* takes a flag back */
	KIND_UMASK,    /* octal; mode_t */
	KIND_CONFIG,   /* read before all others */
	KIND_UID,
	KIND_GID,
	KIND_FUSE,    /* passed on as it is */
	KIND_CRED,    /* offset is an enum cred */
	KIND_SECRET,  /* the same, refused in argv */
	KIND_AUTH,    /* the name of a credential */
	KIND_IGNORED, /* what fstab may hold for others; with a value or without */
	KIND_REFUSED, /* known and impossible: help says why */
};

/* One option: its name, how its text is read, and where the value goes. */
struct option_def {
	const char *name;
	enum option_kind kind;
	size_t offset; /* in struct options; or as the kind says */
	bool takes_value;
	double min, max;          /* of numbers, in the text's unit */
	const char *value, *help; /* NULL value of KIND_REFUSED, NULL help: not shown */
};

/* The option of exactly this name, with '_' for '-'; NULL: there is none. */
const struct option_def *options_find(const char *name);
/* The name most like one that does not exist, for a hint; NULL: none is near. */
const char *options_nearest(const char *name);

#endif

/* base/cleanup.h - scope-bound ownership: cleanup attributes and the steal that ends them. */
#ifndef ADAFS_BASE_CLEANUP_H
#define ADAFS_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Run fn(&variable) when the variable leaves its scope. */
#define ADAFS_CLEANUP(fn) __attribute__((cleanup(fn)))
#define ADAFS_MUST_CHECK __attribute__((warn_unused_result))
#define ADAFS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ADAFS_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Take a pointer out of an owning variable, which is left NULL: ownership moves to the caller. */
#define ADAFS_STEAL(ptr)                         \
	({                                       \
		__typeof__(ptr) stolen_ = (ptr); \
		(ptr) = NULL;                    \
		stolen_;                         \
	})

/* The enclosing structure of a member: from an embedded base back to the whole. */
#define ADAFS_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* free() the pointer that *p holds; for ADAFS_CLEANUP on any heap pointer. */
static inline void freep(void *p)
{
	free(*(void **)p);
}

/* close() the descriptor that *fd holds unless it is negative; errno is kept. */
static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* fclose() the stream that *f holds unless it is NULL. */
static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define ADAFS_FREE ADAFS_CLEANUP(freep)
#define ADAFS_CLOSE ADAFS_CLEANUP(closep)

#endif

/* azure/waiter.h - a calling thread that waits for one completion on the loop thread. */
#ifndef ADAFS_AZURE_WAITER_H
#define ADAFS_AZURE_WAITER_H

#include <stdbool.h>
#include <stddef.h>

#include "batch/base/err.h"
#include "batch/base/mutex.h"

struct waiter {
	struct adafs_mutex lock; /* rank LEAF */
	struct adafs_cond ended;
	bool done;
	size_t len; /* of waiter_got_bytes */
	struct adafs_err err;
};

void waiter_init(struct waiter *w);
/* End the wait with an outcome; w may be gone as soon as this returns. Any thread, once. */
void waiter_end(struct waiter *w, const struct adafs_err *err);
/* waiter_end as the completion of reads: arg is the waiter. */
void waiter_got_bytes(void *arg, size_t len, const struct adafs_err *err);
/* Wait for the end and clear w. Returns the outcome's rc; its detail goes to reterr. */
int waiter_wait(struct waiter *w, struct adafs_err *reterr);

#endif

/*
 * azure/waiter.c - one waiting thread, one that ends the wait; the waiter is over when waiter_wait
 * returns.
 */
#include "batch/azure/waiter.h"

void waiter_init(struct waiter *w)
{
	*w = (struct waiter){ 0 };
	adafs_mutex_init(&w->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&w->ended);
}

void waiter_end(struct waiter *w, const struct adafs_err *err)
{
	adafs_mutex_lock(&w->lock);
	adafs_err_copy(&w->err, err);
	w->done = true;
	adafs_cond_signal(&w->ended);
	adafs_mutex_unlock(&w->lock);
}

void waiter_got_bytes(void *arg, size_t len, const struct adafs_err *err)
{
	struct waiter *w = arg;
	w->len = len; /* read only after the end */
	waiter_end(w, err);
}

int waiter_wait(struct waiter *w, struct adafs_err *reterr)
{
	adafs_mutex_lock(&w->lock);
	while (!w->done)
		adafs_cond_wait(&w->ended, &w->lock);
	adafs_mutex_unlock(&w->lock);
	adafs_cond_clear(&w->ended);
	adafs_mutex_clear(&w->lock);
	return adafs_err_copy(reterr, &w->err);
}

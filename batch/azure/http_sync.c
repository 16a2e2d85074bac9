/* Waiting for a request in the calling thread. */
#include "batch/azure/http.h"

#include "batch/base/mutex.h"

struct waiter {
	struct adafs_mutex lock; /* rank ADAFS_RANK_LEAF */
	struct adafs_cond ended;
	bool done;
	struct adafs_http_response response;
	struct adafs_err err;
};

static void wake(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct waiter *w = arg;
	adafs_mutex_lock(&w->lock);
	w->response = *response; /* stolen */
	*response = (struct adafs_http_response){0};
	adafs_err_copy(&w->err, err);
	w->done = true;
	adafs_cond_signal(&w->ended);
	adafs_mutex_unlock(&w->lock);
}

int adafs_http_perform(struct adafs_http *h, struct adafs_http_request *rq,
		       struct adafs_http_response *ret_response, struct adafs_err *reterr)
{
	struct waiter w = {0};
	adafs_mutex_init(&w.lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&w.ended);
	adafs_http_send(h, rq, wake, &w);
	adafs_mutex_lock(&w.lock);
	while (!w.done)
		adafs_cond_wait(&w.ended, &w.lock);
	adafs_mutex_unlock(&w.lock);
	adafs_cond_clear(&w.ended);
	adafs_mutex_clear(&w.lock);
	if (w.err.rc == 0 && ret_response)
		*ret_response = w.response;
	else
		adafs_http_response_clear(&w.response);
	return adafs_err_copy(reterr, &w.err);
}

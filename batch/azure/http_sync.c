/* Waiting for a request in the calling thread. */
#include "batch/azure/http.h"

#include "batch/azure/waiter.h"

struct exchange {
	struct waiter waiter;
	struct adafs_http_response response;
};

static void on_done(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct exchange *x = arg;
	x->response = *response; /* stolen */
	*response = (struct adafs_http_response){ 0 };
	waiter_end(&x->waiter, err);
}

int adafs_http_perform(struct adafs_http *h, struct adafs_http_request *rq,
		       struct adafs_http_response *ret_response, struct adafs_err *reterr)
{
	struct exchange x = { 0 };
	waiter_init(&x.waiter);
	adafs_http_send(h, rq, on_done, &x);
	int rc = waiter_wait(&x.waiter, reterr);
	if (rc == 0 && ret_response)
		*ret_response = x.response;
	else
		adafs_http_response_clear(&x.response);
	return rc;
}

/* azure/entra_int.h - how one credential is asked for a token. Only for batch/azure. */
#ifndef ADAFS_AZURE_ENTRA_INT_H
#define ADAFS_AZURE_ENTRA_INT_H

#include <stdint.h>

#include "batch/azure/entra.h"
#include "batch/azure/http.h"

/* What every credential is given; all borrowed. */
struct entra_call {
	struct adafs_http *http;
	const struct adafs_entra *settings;
	struct adafs_entra_resource resource;
	bool in_chain; /* others follow: whether it is there at all is to be found out quickly */
	int stop_fd;   /* readable once the asker goes away; -1: never */
};

/* A token and how long it lives from now. */
struct entra_answer {
	char *token; /* owned; wiped by entra_answer_clear */
	int64_t lifetime_s;
};
void entra_answer_clear(struct entra_answer *a);

/*
 * Ask one credential; waits in the calling thread. 0; -ENODATA: it is not set up here, and reterr
 * says in a few words what is missing; other errors: it is, and was refused or not reached.
 */
typedef int entra_fetch(const struct entra_call *call, struct entra_answer *ret,
			struct adafs_err *reterr);
int entra_fetch_environment(const struct entra_call *call, struct entra_answer *ret,
			    struct adafs_err *reterr);
int entra_fetch_workload(const struct entra_call *call, struct entra_answer *ret,
			 struct adafs_err *reterr);
int entra_fetch_managed(const struct entra_call *call, struct entra_answer *ret,
			struct adafs_err *reterr);
int entra_fetch_cli(const struct entra_call *call, struct entra_answer *ret,
		    struct adafs_err *reterr);

/* Append "name=value", encoded, with '&' before it unless b is empty. 0 or -ENOMEM. */
int entra_param(struct adafs_buf *b, const char *name, const char *value);
/*
 * Send a request (NULL is out of memory) and wait. Whatever the status, the reply is in *ret, to be
 * wiped by entra_reply_clear. 0 for 200; otherwise err says what the reply or the line said.
 */
int entra_exchange(const struct entra_call *call, struct adafs_http_request *rq,
		   struct adafs_http_response *ret, struct adafs_err *reterr);
void entra_reply_clear(struct adafs_http_response *r);
/*
 * The token of a reply: access_token with expires_in or expires_on, as numbers or as texts.
 * 0 or -EPROTO.
 */
int entra_parse(const struct adafs_http_response *r, struct entra_answer *ret,
		struct adafs_err *reterr);
/* Wait so long unless the asker goes away. Returns whether it did. */
bool entra_stopped_within(const struct entra_call *call, uint32_t timeout_ms);

#endif

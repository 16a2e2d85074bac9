/*
 * azure/words.h - a refusal of the service as one line for people: what was asked, with which
 * identity, the service's code, what it means, and what to do next. Pure.
 */
#ifndef ADAFS_AZURE_WORDS_H
#define ADAFS_AZURE_WORDS_H

#include <stddef.h>

#include "batch/azure/http.h"

/* What a code means and what to do; texts static. */
struct adafs_words_row {
	const char *code;
	const char *meaning;
	const char *action;
};
/* All of them, for the test that walks the table. */
const struct adafs_words_row *adafs_words_table(size_t *ret_n);
/* The row of a code of Blob or Batch, in any case; NULL: the service's own text must do. */
const struct adafs_words_row *adafs_words_find(const char *code);

/*
 * What a request was for: its URL's path, decoded, without the query, shortened in the middle.
 * "?" when the URL is none.
 */
void adafs_words_object(const char *url, char *out, size_t size);
/*
 * With what a request entered, by its headers and URL: "the key of 'acct'", "an Entra ID token", "a
 * user delegation SAS", "a SAS of access policy 'adafs-1'", "a SAS", "no credential". Holds no
 * secret.
 */
void adafs_words_identity(const struct adafs_http_request *rq, char *out, size_t size);

/*
 * The line. code may be "" (the reply did not come from the service itself), message is the
 * service's own text or "". `out` is always ended.
 */
void adafs_words_line(const struct adafs_http_request *rq, int status, const char *code,
		      const char *message, char *out, size_t size);

#endif

/* azure/status.h - the one table from HTTP status and service code to errno. */
#ifndef ADAFS_AZURE_STATUS_H
#define ADAFS_AZURE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* A row: code NULL stands for every other code of that status. */
struct adafs_status_row {
	int status;
	const char *code;
	int rc;
	bool retryable;
};
/* The table itself, for the test that walks it. */
const struct adafs_status_row *adafs_status_table(size_t *ret_n);

/*
 * The negative errno of a reply outside 200-299, with both services' codes; code "" when it is
 * unknown. *ret_retryable (may be NULL): the same request may succeed if sent again.
 */
int adafs_status_errno(int status, const char *code, bool *ret_retryable);

#endif

/*
 * foreman/pool_words.h - what the service says of a pool and its nodes, in words that name the next
 * action. Pure functions over the service's JSON.
 */
#ifndef ADAFS_FOREMAN_POOL_WORDS_H
#define ADAFS_FOREMAN_POOL_WORDS_H

#include <stdbool.h>

#include "batch/base/buf.h"
#include "batch/base/json.h"

/*
 * Why the pool has fewer nodes than are wanted, one sentence with the next action: resize errors,
 * then a failed formula; "": nothing is wrong. free() it; NULL: out of memory.
 */
char *pool_words_trouble(const cJSON *pool);
/* Whether the resize errors are such that another VM size may help. */
bool pool_words_wants_other_size(const cJSON *pool);
/*
 * Lines of pool/state: the allocation state alone in the first, then "name value" each, then
 * troubles. 0 or -ENOMEM.
 */
int pool_words_state(const cJSON *pool, struct adafs_buf *out);
/* Nodes by what they are good for. */
struct pool_node_counts {
	int usable, starting, broken, preempted;
};
/* Out of an item of GET /nodecounts. */
void pool_words_counts(const cJSON *counts, struct pool_node_counts *ret);
/* Lines of pool/nodes/<id>. 0 or -ENOMEM. */
int pool_words_node(const cJSON *node, struct adafs_buf *out);

#endif

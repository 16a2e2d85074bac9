/* Pools and nodes in words. */
#include "batch/foreman/pool_words.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/foreman/pool_formula.h"

struct code {
	const char *code, *words;
	bool other_size; /* another VM size may have what this one lacks */
};

/* What stops nodes from coming, by the code of a resize error. */
static const struct code codes[] = {
	{ "AccountCoreQuotaReached",
	  "the Batch account's quota of dedicated cores is used up: ask for more under Quotas of "
	  "the "
	  "account in the Azure portal, or free other pools",
	  false },
	{ "AccountLowPriorityCoreQuotaReached",
	  "the Batch account's quota of Spot cores is used up: ask for more under Quotas of the "
	  "account "
	  "in the Azure portal, or set pool_dedicated",
	  false },
	{ "AccountSpotCoreQuotaReached",
	  "the Batch account's quota of Spot cores is used up: ask for more under Quotas of the "
	  "account "
	  "in the Azure portal, or set pool_dedicated",
	  false },
	{ "AccountVMSeriesCoreQuotaReached",
	  "the Batch account's quota of cores of this VM series is used up: ask for more under "
	  "Quotas of "
	  "the account in the Azure portal, or name another size in pool_vm_size",
	  true },
	{ "SubscriptionCoreQuotaReached",
	  "the subscription's quota of cores is used up: ask for more under Usage + quotas of the "
	  "subscription",
	  false },
	{ "AllocationFailed",
	  "the region has no such machine free: wait, or name another size in pool_vm_size", true },
	{ "AllocationTimedOut",
	  "nodes did not come in time: the service tries again; or name another size in "
	  "pool_vm_size",
	  true },
	{ "AllocationTimedout",
	  "nodes did not come in time: the service tries again; or name another size in "
	  "pool_vm_size",
	  true },
	{ "OverconstrainedAllocationRequest",
	  "the region cannot make such a machine: name another size in pool_vm_size", true },
	{ "SkuNotAvailable",
	  "the region has no machines of this size: name another in pool_vm_size", true },
	{ "ResizeStopped", "the resize was stopped: write \"resize N\" to pool/ctl to go on",
	  false },
	{ "RemoveNodesFailed", "nodes could not be removed: the service tries again", false },
};

static const struct code *find(const char *code)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(codes); i++)
		if (strcasecmp(codes[i].code, code) == 0)
			return &codes[i];
	return NULL;
}

static void add_resize_error(struct adafs_buf *out, const cJSON *error)
{
	const char *code = adafs_json_str(error, "code", "Unknown");
	const struct code *known = find(code);
	adafs_buf_addf(out, "%s: %s", code,
		       known ? known->words
			     : adafs_json_str(error, "message", "no reason is given"));
}

/* What is wrong with a formula comes as a pair named "Message". */
static const char *formula_detail(const cJSON *error)
{
	const cJSON *value;
	cJSON_ArrayForEach(
		value,
		adafs_json_get(error, "values")) if (strcasecmp(adafs_json_str(value, "name", ""),
								"Message") ==
						     0) return adafs_json_str(value, "value", "");
	return adafs_json_str(error, "message", "");
}

static void add_formula_error(struct adafs_buf *out, const cJSON *pool, const cJSON *error)
{
	struct pool_formula pf;
	bool ours = pool_formula_parse(adafs_json_str(pool, "autoScaleFormula", ""), &pf);
	adafs_buf_addf(out, "the pool's formula fails (%s: %s)%s",
		       adafs_json_str(error, "code", "unknown"), formula_detail(error),
		       ours ? ": the service tries again at the next interval"
			    : ": correct it with az batch pool autoscale enable");
}

static int add_troubles(const cJSON *pool, const char *between, struct adafs_buf *out)
{
	const cJSON *error;
	size_t start = out->len;
	cJSON_ArrayForEach(error, adafs_json_get(pool, "resizeErrors"))
	{
		if (out->len > start)
			adafs_buf_adds(out, between);
		add_resize_error(out, error);
	}
	error = adafs_json_path(pool, "autoScaleRun/error");
	if (cJSON_IsObject(error)) {
		if (out->len > start)
			adafs_buf_adds(out, between);
		add_formula_error(out, pool, error);
	}
	return 0;
}

char *pool_words_trouble(const cJSON *pool)
{
	struct adafs_buf out = ADAFS_BUF_INIT(4096);
	add_troubles(pool, "; ", &out);
	return adafs_buf_steal(&out, NULL);
}

bool pool_words_wants_other_size(const cJSON *pool)
{
	const cJSON *error;
	cJSON_ArrayForEach(error, adafs_json_get(pool, "resizeErrors"))
	{
		const struct code *known = find(adafs_json_str(error, "code", ""));
		if (known && known->other_size)
			return true;
	}
	return false;
}

int pool_words_state(const cJSON *pool, struct adafs_buf *out)
{
	bool scaled = adafs_json_bool(pool, "enableAutoScale", false);
	struct pool_formula pf;
	adafs_buf_addf(out, "%s\n", adafs_json_str(pool, "allocationState", "unknown"));
	if (strcasecmp(adafs_json_str(pool, "state", "active"), "active") != 0)
		adafs_buf_addf(out, "state %s\n", adafs_json_str(pool, "state", ""));
	adafs_buf_addf(out, "vm_size %s\nslots %lld\n", adafs_json_str(pool, "vmSize", "unknown"),
		       (long long)adafs_json_int(pool, "taskSlotsPerNode", 1));
	adafs_buf_addf(out, "dedicated %lld of %lld\nspot %lld of %lld\n",
		       (long long)adafs_json_int(pool, "currentDedicatedNodes", 0),
		       (long long)adafs_json_int(pool, "targetDedicatedNodes", 0),
		       (long long)adafs_json_int(pool, "currentLowPriorityNodes", 0),
		       (long long)adafs_json_int(pool, "targetLowPriorityNodes", 0));
	if (!scaled)
		adafs_buf_adds(out, "scaling fixed: write \"resize N\" to ctl\n");
	else if (pool_formula_parse(adafs_json_str(pool, "autoScaleFormula", ""), &pf))
		adafs_buf_addf(out,
			       "scaling with the tasks, from 0 to %d dedicated and %d spot nodes\n",
			       pf.dedicated, pf.spot);
	else
		adafs_buf_adds(out, "scaling by a formula that adafs did not make\n");
	size_t before = out->len;
	adafs_buf_adds(out, "trouble ");
	size_t head = out->len;
	add_troubles(pool, "\ntrouble ", out);
	if (out->len == head)
		out->len = before;
	else
		adafs_buf_adds(out, "\n");
	if (out->data)
		out->data[out->len] = 0;
	return out->data ? 0 : -ENOMEM;
}

void pool_words_counts(const cJSON *counts, struct pool_node_counts *ret)
{
	static const char *const kinds[] = { "dedicated", "lowPriority" };
	static const char *const usable[] = { "idle", "running" };
	static const char *const starting[] = { "creating",  "starting",  "waitingForStartTask",
						"rebooting", "reimaging", "upgradingOS" };
	static const char *const broken[] = { "startTaskFailed", "unusable", "offline", "unknown" };
	*ret = (struct pool_node_counts){ 0 };
	for (size_t k = 0; k < ADAFS_ARRAY_SIZE(kinds); k++) {
		const cJSON *c = adafs_json_get(counts, kinds[k]);
		for (size_t i = 0; i < ADAFS_ARRAY_SIZE(usable); i++)
			ret->usable += (int)adafs_json_int(c, usable[i], 0);
		for (size_t i = 0; i < ADAFS_ARRAY_SIZE(starting); i++)
			ret->starting += (int)adafs_json_int(c, starting[i], 0);
		for (size_t i = 0; i < ADAFS_ARRAY_SIZE(broken); i++)
			ret->broken += (int)adafs_json_int(c, broken[i], 0);
		ret->preempted += (int)adafs_json_int(c, "preempted", 0);
	}
}

/* --- nodes -------------------------------------------------------------------------------- */

static const struct {
	const char *state, *words;
} states[] = {
	{ "starttaskfailed", "the start task failed: read its stdout.txt and stderr.txt with az "
			     "batch node file download, "
			     "mend it, and reboot the node" },
	{ "unusable",
	  "the node cannot be used: the service may mend it; if it stays so, remove it" },
	{ "preempted", "Azure took this Spot machine back: it returns when there is capacity" },
	{ "offline", "the node does not answer the service: its tasks run again elsewhere" },
	{ "creating", "the machine is being made" },
	{ "starting", "the machine starts" },
	{ "waitingforstarttask", "the start task runs" },
	{ "leavingpool", "the node goes when its tasks are done" },
};

static void add_start_task(const cJSON *info, struct adafs_buf *out)
{
	if (!info)
		return;
	adafs_buf_addf(out, "start_task %s", adafs_json_str(info, "state", "unknown"));
	if (adafs_json_get(info, "exitCode"))
		adafs_buf_addf(out, ", exit code %lld",
			       (long long)adafs_json_int(info, "exitCode", 0));
	const cJSON *failure = adafs_json_get(info, "failureInfo");
	if (failure)
		adafs_buf_addf(out, ", %s: %s", adafs_json_str(failure, "code", "failed"),
			       adafs_json_str(failure, "message", ""));
	adafs_buf_adds(out, "\n");
}

int pool_words_node(const cJSON *node, struct adafs_buf *out)
{
	const char *state = adafs_json_str(node, "state", "unknown");
	adafs_buf_addf(out, "state %s\nrunning_tasks %lld\nrunning_slots %lld\n", state,
		       (long long)adafs_json_int(node, "runningTasksCount", 0),
		       (long long)adafs_json_int(node, "runningTaskSlotsCount", 0));
	if (adafs_json_get(node, "isDedicated"))
		adafs_buf_addf(out, "kind %s\n",
			       adafs_json_bool(node, "isDedicated", true) ? "dedicated" : "spot");
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(states); i++)
		if (strcasecmp(states[i].state, state) == 0)
			adafs_buf_addf(out, "meaning %s\n", states[i].words);
	add_start_task(adafs_json_get(node, "startTaskInfo"), out);
	const cJSON *item;
	cJSON_ArrayForEach(item, adafs_json_get(node, "recentTasks")) adafs_buf_addf(
		out, "task %s/%s %s\n", adafs_json_str(item, "jobId", ""),
		adafs_json_str(item, "taskId", ""), adafs_json_str(item, "taskState", ""));
	cJSON_ArrayForEach(item, adafs_json_get(node, "errors"))
		adafs_buf_addf(out, "error %s: %s\n", adafs_json_str(item, "code", ""),
			       adafs_json_str(item, "message", ""));
	return out->data ? 0 : -ENOMEM;
}

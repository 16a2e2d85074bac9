/* The text of the scale-to-zero formula, and the way back from its first line. */
#include "batch/foreman/pool_formula.h"

#include <stdio.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"

#define HEAD "// adafs 1"

/* "2026-01-01T00:00:00Z"; a time long past when there is none. */
static void time_text(int64_t us, char out[ADAFS_ISO8601_LEN])
{
	adafs_clock_iso8601_seconds(us, out);
}

char *pool_formula_make(const struct pool_formula *pf)
{
	char first[ADAFS_ISO8601_LEN], until[ADAFS_ISO8601_LEN];
	time_text(pf->first_until_us, first);
	time_text(pf->floor_until_us, until);
	int per_node = pf->tasks_per_node > 1 ? pf->tasks_per_node : 1;
	/*
	 * Samples may be late or missing: each GetSample stands behind a question whether there is
	 * one, and is asked for any share above none. Without a sample in ten minutes nothing is
	 * known to run, and a node that does run something stays until that is done. A fraction of
	 * a node, cut off or rounded by the service, leaves enough either way.
	 */
	return adafs_fmt(
		HEAD
		" dedicated=%d spot=%d tasks_per_node=%d first=%s floor=%d until=%s\n"
		"wide = 10 * TimeInterval_Minute;\n"
		"near = 5 * TimeInterval_Minute;\n"
		"lately = $PendingTasks.GetSamplePercent(wide) > 0 ?"
		" max($PendingTasks.GetSample(wide, 1)) : 0;\n"
		"tasks = $PendingTasks.GetSamplePercent(near) > 0 ?"
		" max($PendingTasks.GetSample(near, 1)) : lately;\n"
		"// As many nodes as the last tasks need; one stays for ten minutes after them.\n"
		"nodes = tasks > 0 ? (tasks + %d) / %d : 0;\n"
		"nodes = max(nodes, lately > 0 ? 1 : 0);\n"
		"// A pool that was just made or given work has no samples yet.\n"
		"nodes = time() < time(\"%s\") ? max(nodes, 1) : nodes;\n"
		"// What was asked for by hand.\n"
		"nodes = time() < time(\"%s\") ? max(nodes, %d) : nodes;\n"
		"$TargetDedicatedNodes = min(%d, nodes);\n"
		"$TargetLowPriorityNodes = min(%d, max(0, nodes - %d));\n"
		"$NodeDeallocationOption = taskcompletion;\n",
		pf->dedicated, pf->spot, per_node, first, pf->floor, until, per_node - 1, per_node,
		first, until, pf->floor, pf->dedicated, pf->spot, pf->dedicated);
}

bool pool_formula_parse(const char *text, struct pool_formula *ret)
{
	struct pool_formula pf;
	char first[ADAFS_ISO8601_LEN], until[ADAFS_ISO8601_LEN];
	if (sscanf(text,
		   HEAD " dedicated=%d spot=%d tasks_per_node=%d first=%31s floor=%d until=%31s",
		   &pf.dedicated, &pf.spot, &pf.tasks_per_node, first, &pf.floor, until) != 6)
		return false;
	if (adafs_clock_parse_iso8601(first, &pf.first_until_us) < 0 ||
	    adafs_clock_parse_iso8601(until, &pf.floor_until_us) < 0)
		return false;
	*ret = pf;
	return true;
}

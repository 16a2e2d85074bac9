/* emulator/batch/engine/sched_jobs.c - jobs from state to state. Under the service's lock. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "batch/emulator/batch/engine/job_node.h"
#include "batch/emulator/batch/engine/job_own.h"
#include "batch/emulator/batch/node/runner.h"
#include "batch/emulator/batch/engine/scheduler.h"

/* What runs of a job until it ends; its release tasks come after that. */
static void stop_runs(struct batch_service *s, const struct job *j, enum run_stop stop)
{
	unsigned kinds = RUN_KIND(RUN_TASK) | RUN_KIND(RUN_PREPARATION);
	run_stop_all_locked(s, NULL, j, kinds, stop);
}

/* Tasks alone: a preparation that runs is of use when the job goes on. */
static void stop_tasks(struct batch_service *s, const struct job *j, enum run_stop stop)
{
	run_stop_all_locked(s, NULL, j, RUN_KIND(RUN_TASK), stop);
}

static void trash_job_dirs(struct batch_service *s, const struct job *j)
{
	ADAFS_FREE char *nodes = adafs_fmt("%s/nodes", s->dir);
	DIR *d = nodes ? opendir(nodes) : NULL;
	const struct dirent *entry;
	while (d && (entry = readdir(d)) != NULL) {
		ADAFS_FREE char *path =
			*entry->d_name == '.'
				? NULL
				: adafs_fmt("%s/%s/workitems/%s", nodes, entry->d_name, j->e.id);
		if (path)
			service_trash_locked(s, path);
	}
	if (d)
		closedir(d);
}

void sched_job_settle_locked(struct batch_service *s, struct job *j)
{
	if (j->n_runs)
		return;
	if (j->e.state == JOB_DISABLING)
		service_set_state_locked(s, &j->e, JOB_DISABLED);
	if (j->n_own || (j->e.state != JOB_TERMINATING && j->e.state != JOB_DELETING) ||
	    job_release_awaited(j))
		return;
	if (j->e.state == JOB_TERMINATING) {
		j->end_us = service_now_locked(s);
		service_set_state_locked(s, &j->e, JOB_COMPLETED);
		job_release_over(j);
		job_drop_pool_locked(s, j);
		return;
	}
	trash_job_dirs(s, j);
	job_drop_pool_locked(s, j);
	entity_list_remove(&s->jobs, &j->e);
	j->e.gone = true;
	service_dirty_locked(s, &j->e, false);
}

void sched_job_check_locked(struct batch_service *s, struct job *j)
{
	const char *action = adafs_json_str(j->e.spec, "onAllTasksComplete", "noaction");
	if (j->e.state == JOB_ACTIVE && strcmp(action, "terminatejob") == 0 && !j->counts.active &&
	    !j->counts.running)
		sched_job_terminate_locked(s, j, "AllTasksComplete");
}

void sched_job_terminate_locked(struct batch_service *s, struct job *j, const char *reason)
{
	free(j->terminate_reason);
	j->terminate_reason = strdup(reason);
	service_set_state_locked(s, &j->e, JOB_TERMINATING);
	stop_runs(s, j, RUN_STOP_TERMINATE);
	sched_job_settle_locked(s, j);
	service_wake_locked(s);
}

void sched_job_disable_locked(struct batch_service *s, struct job *j, const char *option)
{
	service_set_state_locked(s, &j->e, JOB_DISABLING);
	if (strcmp(option, "requeue") == 0)
		stop_tasks(s, j, RUN_STOP_REQUEUE);
	else if (strcmp(option, "terminate") == 0)
		stop_tasks(s, j, RUN_STOP_TERMINATE);
	sched_job_settle_locked(s, j);
}

void sched_job_enable_locked(struct batch_service *s, struct job *j)
{
	service_set_state_locked(s, &j->e, JOB_ACTIVE);
	sched_job_check_locked(s, j);
	service_wake_locked(s);
}

void sched_job_delete_locked(struct batch_service *s, struct job *j)
{
	service_set_state_locked(s, &j->e, JOB_DELETING);
	stop_runs(s, j, RUN_STOP_DELETE);
	sched_job_settle_locked(s, j);
	service_wake_locked(s);
}

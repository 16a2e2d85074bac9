/* The body of a pool. */
#include "batch/foreman/pool_make.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "batch/base/buf.h"
#include "batch/foreman/foreman.h"

/* An image with container engine and GPU driver, and the node agent for it. */
#define DEFAULT_IMAGE "microsoft-dsvm:ubuntu-hpc:2204:latest"
#define DEFAULT_AGENT "batch.node.ubuntu 22.04"
#define DEFAULT_SLOTS 4

/* --- lists -------------------------------------------------------------------------------- */

/* The n-th item between separators, without blanks around it; free() it. NULL: none. */
static char *item_of(const char *list, char separator, unsigned n)
{
	const char separators[] = { separator, 0 };
	for (; list && n > 0; n--) {
		list = strchr(list, separator);
		list = list ? list + 1 : NULL;
	}
	if (!list)
		return NULL;
	list += strspn(list, " \t");
	size_t len = strcspn(list, separators);
	while (len > 0 && strchr(" \t", list[len - 1]))
		len--;
	return len ? strndup(list, len) : NULL;
}

char *pool_settings_size(const struct adafs_pool_settings *s, unsigned n)
{
	return item_of(s->vm_sizes, ',', n);
}

static bool listed(const char *list, const char *wanted)
{
	for (unsigned i = 0;; i++) {
		ADAFS_FREE char *item = item_of(list, ',', i);
		if (!item)
			return false;
		if (strcmp(item, wanted) == 0)
			return true;
	}
}

int pool_settings_find_size(const struct adafs_pool_settings *s, const char *vm_size)
{
	for (int i = 0;; i++) {
		ADAFS_FREE char *size = pool_settings_size(s, (unsigned)i);
		if (!size)
			return -1;
		if (strcasecmp(size, vm_size) == 0)
			return i;
	}
}

/* --- checks ------------------------------------------------------------------------------- */

int pool_settings_slots(const struct adafs_pool_settings *s, const struct adafs_pipeline *p)
{
	int largest = adafs_pipeline_max_slots(p, NULL);
	if (s->slots)
		return (int)s->slots;
	return largest > DEFAULT_SLOTS ? largest : DEFAULT_SLOTS;
}

static int check_slots(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
		       struct adafs_err *reterr)
{
	const char *step = "";
	int largest = adafs_pipeline_max_slots(p, &step);
	if (!s->slots || largest <= (int)s->slots)
		return 0;
	return adafs_err_set(
		reterr, -EINVAL,
		"step '%s' of pipeline '%s' takes %d slots and pool_slots=%u: set pool_slots=%d, "
		"or lower the step's \"slots\"",
		step, adafs_pipeline_name(p), largest, s->slots, largest);
}

static int check_containers(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
			    struct adafs_err *reterr)
{
	const char *image = adafs_pipeline_image(p);
	if (!s->containers || !image || listed(s->containers, image))
		return 0;
	return adafs_err_set(
		reterr, -EINVAL,
		"pipeline '%s' runs in container image '%s', which nodes of the pool would not "
		"have: set pool_container_image=%s,%s",
		adafs_pipeline_name(p), image, s->containers, image);
}

static int check_image(const struct adafs_pool_settings *s, struct adafs_err *reterr)
{
	ADAFS_FREE char *sku = item_of(s->image, ':', 2);
	if (!s->image)
		return s->node_agent ? adafs_err_set(reterr, -EINVAL,
						     "pool_node_agent=%s belongs to an image: set "
						     "pool_image=PUBLISHER:OFFER:SKU too",
						     s->node_agent)
				     : 0;
	if (!sku)
		return adafs_err_set(reterr, -EINVAL,
				     "pool_image=%s is not PUBLISHER:OFFER:SKU[:VERSION], as in %s",
				     s->image, DEFAULT_IMAGE);
	if (!s->node_agent)
		return adafs_err_set(
			reterr, -EINVAL,
			"pool_image=%s needs the node agent made for it: set pool_node_agent "
			"(az batch pool supported-images list shows both)",
			s->image);
	return 0;
}

static int check_registry(const struct adafs_pool_settings *s, struct adafs_err *reterr)
{
	if (s->registry && (!s->registry_user || !s->registry_password))
		return adafs_err_set(
			reterr, -EINVAL,
			"pool_registry_server=%s needs a login: set ADAFS_REGISTRY_USER and "
			"ADAFS_REGISTRY_PASSWORD in the environment",
			s->registry);
	return 0;
}

int adafs_pool_settings_check(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
			      struct adafs_err *reterr)
{
	ADAFS_FREE char *size = pool_settings_size(s, 0);
	if (!size)
		return adafs_err_set(reterr, -EINVAL, "pool_vm_size names no VM size");
	int rc = check_image(s, reterr);
	if (rc == 0)
		rc = check_slots(s, p, reterr);
	if (rc == 0)
		rc = check_containers(s, p, reterr);
	return rc == 0 ? check_registry(s, reterr) : rc;
}

/* --- the body ----------------------------------------------------------------------------- */

void pool_settings_formula(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
			   int64_t now_us, struct pool_formula *ret)
{
	int largest = adafs_pipeline_max_slots(p, NULL);
	*ret = (struct pool_formula){
		.dedicated = s->dedicated || s->spot ? (int)s->dedicated : 1,
		.spot = (int)s->spot,
		/* As if all tasks were as large as the largest: a node too many goes soon. */
		.tasks_per_node = pool_settings_slots(s, p) / (largest > 0 ? largest : 1),
		.first_until_us = now_us + POOL_FORMULA_FIRST_US,
	};
}

static void add_image(cJSON *vm, const struct adafs_pool_settings *s)
{
	static const char *const names[] = { "publisher", "offer", "sku", "version" };
	const char *image = s->image ? s->image : DEFAULT_IMAGE;
	cJSON *reference = cJSON_AddObjectToObject(vm, "imageReference");
	for (unsigned i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		ADAFS_FREE char *item = item_of(image, ':', i);
		cJSON_AddStringToObject(reference, names[i], item ? item : "latest");
	}
	cJSON_AddStringToObject(vm, "nodeAgentSKUId", s->image ? s->node_agent : DEFAULT_AGENT);
}

static void add_containers(cJSON *vm, const struct adafs_pool_settings *s, const char *image)
{
	const char *list = s->containers ? s->containers : image;
	if (!list)
		return;
	cJSON *config = cJSON_AddObjectToObject(vm, "containerConfiguration");
	cJSON_AddStringToObject(config, "type", "dockerCompatible");
	cJSON *names = cJSON_AddArrayToObject(config, "containerImageNames");
	for (unsigned i = 0;; i++) {
		ADAFS_FREE char *item = item_of(list, ',', i);
		if (!item)
			break;
		cJSON_AddItemToArray(names, cJSON_CreateString(item));
	}
	if (!s->registry)
		return;
	cJSON *registry = cJSON_CreateObject();
	cJSON_AddStringToObject(registry, "registryServer", s->registry);
	cJSON_AddStringToObject(registry, "username", s->registry_user);
	cJSON_AddStringToObject(registry, "password", s->registry_password);
	cJSON_AddItemToArray(cJSON_AddArrayToObject(config, "containerRegistries"), registry);
}

cJSON *pool_make_body(const struct adafs_pool_settings *s, const struct adafs_pipeline *p,
		      const char *id, const char *vm_size, int64_t now_us)
{
	struct pool_formula pf;
	pool_settings_formula(s, p, now_us, &pf);
	ADAFS_FREE char *formula = pool_formula_make(&pf);
	cJSON *body = formula ? cJSON_CreateObject() : NULL;
	if (!body)
		return NULL;
	cJSON_AddStringToObject(body, "id", id);
	cJSON_AddStringToObject(body, "vmSize", vm_size);
	cJSON_AddNumberToObject(body, "taskSlotsPerNode", pool_settings_slots(s, p));
	cJSON_AddBoolToObject(body, "enableAutoScale", true);
	cJSON_AddStringToObject(body, "autoScaleFormula", formula);
	cJSON_AddStringToObject(body, "autoScaleEvaluationInterval", POOL_INTERVAL);
	/* Few nodes that are full go away earlier than many that are not. */
	cJSON *policy = cJSON_AddObjectToObject(body, "taskSchedulingPolicy");
	cJSON_AddStringToObject(policy, "nodeFillType", "pack");
	cJSON *vm = cJSON_AddObjectToObject(body, "virtualMachineConfiguration");
	add_image(vm, s);
	add_containers(vm, s, adafs_pipeline_image(p));
	return body;
}

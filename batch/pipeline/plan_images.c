/* plan_images.c - what images are called: job ids, file names on nodes, keys of parts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/base/digest.h"
#include "batch/base/json.h"
#include "batch/pipeline/build.h"

static int by_role_and_name(const void *a, const void *b)
{
	const struct adafs_plan_image *x = *(const struct adafs_plan_image *const *)a;
	const struct adafs_plan_image *y = *(const struct adafs_plan_image *const *)b;
	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	return strcmp(x->blob, y->blob);
}

static const char *base_name(const char *blob)
{
	const char *slash = strrchr(blob, '/');
	return slash ? slash + 1 : blob;
}

static bool plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

size_t plan_slug(const char *text, size_t len, char *out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n < max; i++) {
		bool keep = plain(text[i]) || text[i] == '_' || (text[i] == '-' && n);
		if (keep)
			out[n++] = text[i];
		else if (n && out[n - 1] != '_')
			out[n++] = '_';
	}
	while (n && (out[n - 1] == '_' || out[n - 1] == '-'))
		n--;
	if (!n)
		out[n++] = 'x';
	out[n] = 0;
	return n;
}

static size_t stem_len(const char *name)
{
	const char *dot = strrchr(name, '.');
	return dot && dot > name ? (size_t)(dot - name) : strlen(name);
}

/*
 * Feed the unit if there is one, then role, blob and, for a job, content of every image to a
 * digest, in a fixed order.
 */
static void digest_images(const char *unit, const struct adafs_plan_image *images, size_t n,
			  bool content, char hex[ADAFS_SHA256_HEX_LEN],
			  const struct adafs_plan_image **ret_first)
{
	const struct adafs_plan_image **order = calloc(n ? n : 1, sizeof(*order));
	uint8_t sum[ADAFS_SHA256_LEN] = { 0 };
	struct adafs_digest *d = adafs_digest_new(ADAFS_DIGEST_SHA256);
	hex[0] = 0;
	*ret_first = n ? &images[0] : NULL;
	if (order && d) {
		for (size_t i = 0; i < n; i++)
			order[i] = &images[i];
		qsort(order, n, sizeof(const struct adafs_plan_image *), by_role_and_name);
		if (unit && *unit)
			adafs_digest_update(d, unit, strlen(unit) + 1);
		for (size_t i = 0; i < n; i++) {
			adafs_digest_update(d, order[i]->blob, strlen(order[i]->blob) + 1);
			if (content)
				adafs_digest_update(d, order[i]->sha256,
						    strlen(order[i]->sha256) + 1);
		}
		adafs_digest_final(d, sum);
		adafs_hex_encode(sum, sizeof(sum), hex);
		*ret_first = n ? order[0] : NULL;
	}
	adafs_digest_free(d);
	free(order);
}

void adafs_plan_job_id(const char *event, const char *unit, const struct adafs_plan_image *images,
		       size_t n, char out[ADAFS_JOB_ID_LEN])
{
	enum { ID_MAX = 58, HEX = 8 };
	char hex[ADAFS_SHA256_HEX_LEN], event_slug[25], name_slug[ID_MAX];
	const struct adafs_plan_image *first = NULL;
	digest_images(unit, images, n, true, hex, &first);
	size_t used = plan_slug(event, strlen(event), event_slug, 24);
	const char *name = first ? base_name(first->blob) : "";
	size_t room = ID_MAX - HEX - 2 - used;
	if (unit && *unit)
		plan_slug(unit, strlen(unit), name_slug, room);
	else
		plan_slug(name, stem_len(name), name_slug, room);
	snprintf(out, ADAFS_JOB_ID_LEN, "%.24s-%.*s-%.8s", event_slug, (int)room, name_slug, hex);
}

/* "scene_1.tif" from "Scéne 1.TIF"; in a role of many with a number, so that names stay apart. */
static char *node_name(const struct adafs_plan_image *image, size_t number, bool many)
{
	char stem[48], ext[12] = "";
	const char *name = base_name(image->blob);
	size_t len = stem_len(name), n = 0;
	plan_slug(name, len, stem, 40);
	if (stem[0] == '-')
		stem[0] = '_';
	for (const char *p = name + len + (name[len] == '.'); *p && n < 8; p++)
		if (plain(*p))
			ext[n++] = *p;
	ext[n] = 0;
	if (many)
		return adafs_fmt("%03zu-%s%s%s", number, stem, n ? "." : "", ext);
	return adafs_fmt("%s%s%s", stem, n ? "." : "", ext);
}

static int check_roles(const struct build *b)
{
	for (size_t r = 0; r < b->p->n_inputs; r++) {
		const struct adafs_pipeline_input *in = &b->p->inputs[r];
		size_t n = 0;
		for (size_t i = 0; i < b->req->n_images; i++)
			n += b->req->images[i].role == r;
		if (!n)
			return adafs_err_set(b->reterr, -EINVAL,
					     "pipeline '%s' needs an image for '%s', and "
					     "none is given",
					     b->p->name, in->name);
		if (n > 1 && !in->many)
			return adafs_err_set(b->reterr, -EINVAL,
					     "pipeline '%s' takes one image for '%s', and "
					     "%zu are given",
					     b->p->name, in->name, n);
	}
	return 0;
}

int build_names(struct build *b)
{
	const struct adafs_plan_request *req = b->req;
	int rc = check_roles(b);
	if (rc < 0)
		return rc;
	b->names = calloc(req->n_images, sizeof(*b->names));
	if (!b->names)
		return build_oom(b);
	for (size_t i = 0; i < req->n_images; i++) {
		size_t role = req->images[i].role, number = 1;
		if (role >= b->p->n_inputs)
			return adafs_err_set(b->reterr, -EINVAL,
					     "image '%s' has no role in pipeline '%s'",
					     req->images[i].blob, b->p->name);
		for (size_t j = 0; j < i; j++)
			number += req->images[j].role == role;
		b->names[i] = node_name(&req->images[i], number, b->p->inputs[role].many);
		if (!b->names[i])
			return build_oom(b);
	}
	return 0;
}

int build_part(const struct build *b, char key[ADAFS_SHA256_HEX_LEN], const char **ret_order,
	       cJSON **ret_images)
{
	const struct adafs_plan_request *req = b->req;
	const struct adafs_plan_image *first = NULL;
	const char *order = "";
	bool by_unit = req->unit && *req->unit;
	digest_images(req->unit, req->images, by_unit ? 0 : req->n_images, false, key, &first);
	ADAFS_CLEANUP(adafs_json_freep) cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < req->n_images; i++) {
		const struct adafs_plan_image *image = &req->images[i];
		const char *snapshot = image->snapshot ? image->snapshot : "";
		cJSON *o = cJSON_CreateObject();
		if (!list || !o || !cJSON_AddItemToArray(list, o)) {
			cJSON_Delete(o);
			return -ENOMEM;
		}
		if (!cJSON_AddStringToObject(o, "role", b->p->inputs[image->role].name) ||
		    !cJSON_AddStringToObject(o, "blob", image->blob) ||
		    !cJSON_AddStringToObject(o, "snapshot", snapshot))
			return -ENOMEM;
		if (image->date && *image->date && !cJSON_AddStringToObject(o, "date", image->date))
			return -ENOMEM;
		if (strcmp(snapshot, order) > 0)
			order = snapshot;
	}
	*ret_order = order;
	*ret_images = ADAFS_STEAL(list);
	return key[0] ? 0 : -ENOMEM;
}

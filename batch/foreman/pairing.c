/*
 * foreman/pairing.c - the look for partners: linear in the images of an event, most of which a
 * glance at their latitudes rules out. Pure.
 */
#include "batch/foreman/pairing.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/cleanup.h"

static const char *base_name(const char *blob)
{
	const char *slash = strrchr(blob, '/');
	return slash ? slash + 1 : blob;
}

/* Length of the key in a base name. */
static size_t key_len(const char *name)
{
	const char *dot = strrchr(name, '.');
	return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

static bool same_key(const char *a, const char *b)
{
	const char *x = base_name(a), *y = base_name(b);
	size_t len = key_len(x);
	return len == key_len(y) && strncmp(x, y, len) == 0;
}

static bool located(const struct pairing_image *i)
{
	return i->geo && i->geo->has_footprint;
}

static void span(const double v[4], double *ret_low, double *ret_high)
{
	*ret_low = *ret_high = v[0];
	for (int i = 1; i < 4; i++) {
		*ret_low = v[i] < *ret_low ? v[i] : *ret_low;
		*ret_high = v[i] > *ret_high ? v[i] : *ret_high;
	}
}

/* Most images of an event lie apart: seen without clipping polygons. Longitudes wrap, latitudes do
 * not. */
static bool apart(const struct adafs_image_geo *a, const struct adafs_image_geo *b)
{
	double a_low, a_high, b_low, b_high;
	span(a->lat, &a_low, &a_high);
	span(b->lat, &b_low, &b_high);
	if (a_high <= b_low || b_high <= a_low)
		return true;
	span(a->lon, &a_low, &a_high);
	span(b->lon, &b_low, &b_high);
	for (int turn = -360; turn <= 360; turn += 360)
		if (a_high > b_low + turn && b_high + turn > a_low)
			return false;
	return true;
}

static double overlap(const struct pairing_image *a, const struct pairing_image *b)
{
	return apart(a->geo, b->geo) ? 0 : adafs_footprint_overlap(a->geo, b->geo);
}

/* How well two images fit: 0: not at all, up to 1. */
static double fit(const struct pairing *p, const struct pairing_image *a,
		  const struct pairing_image *b)
{
	double least = p->min_overlap[a->role];
	if (p->min_overlap[b->role] > least)
		least = p->min_overlap[b->role];
	if (!located(a) || !located(b))
		return least == 0 && same_key(a->blob, b->blob) ? PAIRING_STRONG : 0;
	double share = overlap(a, b);
	/* Two hands that reckon the same share may differ in the last digits. */
	return share + 1e-6 < least || share < 1e-6 ? 0 : share;
}

/* The best partner of image[self] in a role; SIZE_MAX: none. */
static size_t best(const struct pairing *p, size_t self, size_t role, double *ret_fit)
{
	const struct pairing_image *me = &p->image[self];
	size_t found = SIZE_MAX;
	*ret_fit = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct pairing_image *other = &p->image[i];
		if (other->role != role || other->taken)
			continue;
		double f = fit(p, me, other);
		bool better = f > *ret_fit + 1e-6;
		if (!better && f > 0 && found != SIZE_MAX && f > *ret_fit - 1e-6) {
			bool mine = same_key(me->blob, other->blob);
			bool theirs = same_key(me->blob, p->image[found].blob);
			better = mine != theirs ? mine
						: strcmp(other->blob, p->image[found].blob) < 0;
		}
		if (better) {
			found = i;
			*ret_fit = f;
		}
	}
	return found;
}

/* The partners of an image of the first role, each the best for the other. */
static enum pairing_verdict find_from(const struct pairing *p, size_t anchor, size_t *ret)
{
	bool weak = false, whole = true;
	ret[0] = anchor;
	for (size_t r = 1; r < p->n_roles; r++) {
		double f, back;
		size_t i = best(p, anchor, r, &f);
		if (i == SIZE_MAX || best(p, i, 0, &back) != anchor) {
			whole = false;
			continue;
		}
		ret[r] = i;
		weak |= f < PAIRING_STRONG && !same_key(p->image[anchor].blob, p->image[i].blob);
	}
	if (!whole)
		return PAIRING_ALONE;
	return weak && !p->quiet ? PAIRING_WEAK : PAIRING_FOUND;
}

enum pairing_verdict pairing_find(const struct pairing *p, size_t self, size_t *ret)
{
	size_t role = p->image[self].role, anchor = self;
	double f;
	for (size_t r = 0; r < p->n_roles; r++)
		ret[r] = SIZE_MAX;
	if (role != 0)
		anchor = best(p, self, 0, &f);
	enum pairing_verdict verdict =
		anchor == SIZE_MAX ? PAIRING_ALONE : find_from(p, anchor, ret);
	if (ret[role] == self)
		return verdict;
	/* The one that fits best has a better one itself. */
	for (size_t r = 0; r < p->n_roles; r++)
		ret[r] = SIZE_MAX;
	ret[role] = self;
	return PAIRING_ALONE;
}

char *pairing_reason(const struct pairing_image *a, const struct pairing_image *b)
{
	if (!located(a) || !located(b))
		return strdup("have the same name");
	return adafs_fmt("overlap by %.0f %%", 100 * overlap(a, b));
}

size_t pairing_misfit(const struct pairing *p, size_t self, size_t role, double *ret_overlap)
{
	const struct pairing_image *me = &p->image[self];
	for (size_t i = 0; located(me) && i < p->n; i++) {
		const struct pairing_image *other = &p->image[i];
		if (other->role != role || other->taken || !located(other) ||
		    !same_key(me->blob, other->blob) || fit(p, me, other) > 0)
			continue;
		*ret_overlap = overlap(me, other);
		return i;
	}
	return SIZE_MAX;
}

char *pairing_suggest(const char *match, const char *blob)
{
	const char *name = base_name(blob);
	if (!match)
		return strdup(name);
	/* Only the directory part of the pattern is sure; the name must match the partner's. */
	const char *slash = strrchr(match, '/');
	if (!slash)
		return strdup(name);
	return adafs_fmt("%.*s/%s", (int)(slash - match), match, name);
}

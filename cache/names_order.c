#include "cache/names_order.h"
#include <errno.h>
#include <stdlib.h>

/* These bits of a place are of the name's hash, the others of the inode's number. */
#define NAME_BITS 0xfffffu

struct names_order {
	size_t n, at; /* at: where the last reader went on */
	struct {
		uint64_t place;
		struct dentry *dentry;
	} names[];
};

static uint64_t place_of(const struct dentry *dentry)
{
	uint64_t place =
	    (dentry->inode->ino & INT64_MAX & ~(uint64_t)NAME_BITS) | (dentry->hash & NAME_BITS);

	return place < NAMES_ORDER_FIRST ? NAMES_ORDER_FIRST : place;
}

static int compare(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static struct names_order *sort(const struct folder *folder)
{
	struct names_order *order;
	struct dentry *dentry;
	size_t i;

	order = malloc(sizeof(*order) + folder->n_children * sizeof(order->names[0]));
	if (!order)
		return NULL;
	order->n = order->at = 0;
	TAILQ_FOREACH (dentry, &folder->children, sibling) {
		if (!dentry->inode)
			continue;
		order->names[order->n].place = place_of(dentry);
		order->names[order->n++].dentry = dentry;
	}
	qsort(order->names, order->n, sizeof(order->names[0]), compare);
	for (i = 1; i < order->n; i++) { /* two at one place would be one to a reader */
		if (order->names[i].place <= order->names[i - 1].place)
			order->names[i].place = order->names[i - 1].place + 1;
	}
	return order;
}

int names_order_begin(struct inode *folder, bool anew)
{
	struct folder *dir = folder->folder;

	if (dir->order && !(anew && dir->order_old))
		return 0;
	names_order_drop(folder);
	dir->order = sort(dir);
	return dir->order ? 0 : -ENOMEM;
}

static size_t seek(struct names_order *order, uint64_t place)
{
	size_t low = 0, high = order->n, middle;

	if (order->at < order->n && order->names[order->at].place >= place &&
	    (!order->at || order->names[order->at - 1].place < place))
		return order->at;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (order->names[middle].place < place)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct dentry *names_order_next(const struct inode *folder, uint64_t *place)
{
	struct names_order *order = folder->folder->order;
	size_t i = seek(order, *place);

	while (i < order->n && !order->names[i].dentry->inode) /* removed since */
		i++;
	order->at = i < order->n ? i + 1 : i;
	if (i == order->n)
		return NULL;
	*place = order->names[i].place + 1;
	return order->names[i].dentry;
}

void names_order_drop(struct inode *folder)
{
	free(folder->folder->order);
	folder->folder->order = NULL;
	folder->folder->order_old = false;
}

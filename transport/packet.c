#include "transport/packet.h"
#include <stdlib.h>

struct packet *packet_new(size_t size)
{
	struct packet *packet = malloc(sizeof(*packet) + size);

	if (!packet)
		return NULL;
	packet->len = 0;
	packet->patient = false;
	packet->size = size;
	packet->data = packet->room;
	atomic_init(&packet->refs, 1);
	return packet;
}

struct packet *packet_share(struct packet *packet)
{
	atomic_fetch_add(&packet->refs, 1);
	return packet;
}

bool packet_is_shared(const struct packet *packet)
{
	return atomic_load(&packet->refs) > 1;
}

void packet_free(struct packet *packet)
{
	if (packet && atomic_fetch_sub(&packet->refs, 1) == 1)
		free(packet);
}

/* refusal: what the gateway is told when a destination could not be reached. */
#ifndef PLAIT_REFUSAL_H
#define PLAIT_REFUSAL_H

#include <stdint.h>

/* The wire status (RFC 8803's words) for connect()'s errno. A port that answers with RST counts as reset. */
uint16_t refusal_of(int err);

#endif

/* Has a program ask the name server of a test in place of those in /etc/resolv.conf, which cannot name a port. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <resolv.h>
#include <stdlib.h>

static int redirected(res_state state, int result)
{
    struct sockaddr_in *server = &state->nsaddr_list[0];
    server->sin_family = AF_INET;
    server->sin_addr.s_addr = inet_addr(getenv("NAME_SERVER_IP"));
    server->sin_port = htons(atoi(getenv("NAME_SERVER_PORT")));
    state->nscount = 1;
    state->options |= RES_TRUSTAD;
    return result;
}

int __res_ninit(res_state state)
{
    int (*original)(res_state) = dlsym(RTLD_NEXT, "__res_ninit");
    return redirected(state, original(state));
}

int __res_init(void)
{
    int (*original)(void) = dlsym(RTLD_NEXT, "__res_init");
    return redirected(&_res, original());
}

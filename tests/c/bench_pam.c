/* Logins one after the other through libpam: authenticate, account, credentials, session: bench_pam SERVICE LOGIN PASSWORD COUNT. Prints p50 and
   p99 of a whole login, and p50 of its four steps, in microseconds. libpam is opened by hand: its headers are not on a bare Debian. */
#include "nss.h"

struct message {
    int style;
    const char *text;
};
struct response {
    char *text;
    int code;
};
struct conversation {
    int (*ask)(int, const struct message **, struct response **, void *);
    void *data;
};

static int answer(int count, const struct message **messages, struct response **responses, void *password)
{
    *responses = calloc(count, sizeof **responses);
    for (int i = 0; i < count; i++)
        if (messages[i]->style == 1) /* PAM_PROMPT_ECHO_OFF */
            (*responses)[i].text = strdup(password);
    return 0;
}

static int smaller(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

int main(int argc, char **argv)
{
    MUST(argc == 5, "usage");
    void *pam = dlopen("libpam.so.0", RTLD_NOW | RTLD_GLOBAL);
    MUST(pam, "%s", dlerror());
    int (*start)(const char *, const char *, const struct conversation *, void **) = dlsym(pam, "pam_start");
    int (*authenticate)(void *, int) = dlsym(pam, "pam_authenticate"), (*account)(void *, int) = dlsym(pam, "pam_acct_mgmt");
    int (*open_session)(void *, int) = dlsym(pam, "pam_open_session"), (*close_session)(void *, int) = dlsym(pam, "pam_close_session");
    int (*end)(void *, int) = dlsym(pam, "pam_end");
    MUST(start && authenticate && account && open_session && close_session && end, "libpam lacks a function");
    int count = atoi(argv[4]);
    double *took[4];
    for (int i = 0; i < 4; i++)
        took[i] = calloc(count, sizeof **took);
    struct conversation talk = {answer, argv[3]};
    for (int i = -2; i < count; i++) {
        void *handle;
        int code;
        double t0 = now_ms();
        MUST(!(code = start(argv[1], argv[2], &talk, &handle)), "pam_start: %d", code);
        MUST(!(code = authenticate(handle, 0)), "pam_authenticate: %d", code);
        double t1 = now_ms();
        MUST(!(code = account(handle, 0)), "pam_acct_mgmt: %d", code);
        double t2 = now_ms();
        MUST(!(code = open_session(handle, 0)), "pam_open_session: %d", code);
        MUST(!(code = close_session(handle, 0)), "pam_close_session: %d", code);
        end(handle, code);
        double t3 = now_ms();
        if (i >= 0)
            took[0][i] = (t3 - t0) * 1000, took[1][i] = (t1 - t0) * 1000, took[2][i] = (t2 - t1) * 1000, took[3][i] = (t3 - t2) * 1000;
    }
    for (int i = 0; i < 4; i++)
        qsort(took[i], count, sizeof **took, smaller);
    printf("%.0f %.0f %.0f %.0f %.0f\n", took[0][count / 2], took[0][count * 99 / 100], took[1][count / 2], took[2][count / 2], took[3][count / 2]);
    return 0;
}

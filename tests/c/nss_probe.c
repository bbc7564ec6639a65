/* Asks the module without libc between, one line an answer: question, status, errno, milliseconds, of which ready without a processor, what
   came. Questions: pw NAME, uid ID, gr NAME, gid ID, sp NAME, ig NAME, pwlist, grlist, splist. */
#include "nss.h"

static const char *status_name(int status)
{
    return status == SUCCESS ? "SUCCESS" : status == NOTFOUND ? "NOTFOUND" : status == UNAVAIL ? "UNAVAIL" : "TRYAGAIN";
}

int main(int argc, char **argv)
{
    static char buffer[1 << 20], came[1 << 20];
    struct module direct = module();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc;) {
        const char *what = argv[i++], *key = "";
        struct passwd pw;
        struct group gr;
        struct spwd sp;
        long start = 0, size = 0;
        gid_t *gids = NULL;
        int status, error = 0;
        came[0] = 0;
        if (!strstr(what, "list") && i < argc)
            key = argv[i++];
        double waited = waited_ms(), begun = now_ms();
        if (!strcmp(what, "pw") || !strcmp(what, "uid")) {
            status = *what == 'p' ? direct.getpwnam(key, &pw, buffer, sizeof buffer, &error)
                                  : direct.getpwuid((uid_t)strtoul(key, NULL, 10), &pw, buffer, sizeof buffer, &error);
            if (status == SUCCESS)
                sprintf(came, "%s:%s:%u:%u:%s:%s:%s", pw.pw_name, pw.pw_passwd, pw.pw_uid, pw.pw_gid, pw.pw_gecos, pw.pw_dir, pw.pw_shell);
        } else if (!strcmp(what, "gr") || !strcmp(what, "gid")) {
            status = what[1] == 'r' ? direct.getgrnam(key, &gr, buffer, sizeof buffer, &error)
                                    : direct.getgrgid((gid_t)strtoul(key, NULL, 10), &gr, buffer, sizeof buffer, &error);
            if (status == SUCCESS) {
                int used = sprintf(came, "%s:%s:%u:", gr.gr_name, gr.gr_passwd, gr.gr_gid);
                for (char **member = gr.gr_mem; *member; member++)
                    used += sprintf(came + used, "%s%s", member == gr.gr_mem ? "" : ",", *member);
            }
        } else if (!strcmp(what, "sp")) {
            status = direct.getspnam(key, &sp, buffer, sizeof buffer, &error);
            if (status == SUCCESS)
                sprintf(came, "%s:%s:%ld", sp.sp_namp, sp.sp_pwdp, sp.sp_lstchg);
        } else if (!strcmp(what, "ig")) {
            status = direct.initgroups(key, (gid_t)-1, &start, &size, &gids, -1, &error);
            int used = 0;
            for (long k = 0; k < start; k++)
                used += sprintf(came + used, "%s%u", k ? "," : "", gids[k]);
        } else {
            int count = 0;
            for (;; count++) {
                status = *what == 'p'   ? direct.getpwent(&pw, buffer, sizeof buffer, &error)
                         : *what == 'g' ? direct.getgrent(&gr, buffer, sizeof buffer, &error)
                                        : direct.getspent(&sp, buffer, sizeof buffer, &error);
                if (status != SUCCESS || count == 100000)
                    break;
                unsigned id = *what == 'p' ? pw.pw_uid : *what == 'g' ? gr.gr_gid : 1000;
                MUST(id >= 1000 && id <= INT_MAX, "listed id %u", id);
            }
            *what == 'p' ? direct.endpwent() : *what == 'g' ? direct.endgrent() : direct.endspent();
            sprintf(came, "%d", count);
        }
        double took = now_ms() - begun;
        printf("%s%s%s\t%s\t%d\t%.1f\t%.1f\t%s\n", what, *key ? " " : "", key, status_name(status), status == SUCCESS ? 0 : error, took,
               waited_ms() - waited, came);
        free(gids);
    }
    return 0;
}

/* Faults on purpose: what the variable may say, and that nothing happens without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fault.h"

static void malformed_faults_are_refused(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    for (const char *const *w =
             (const char *const[]){"kill", "kill:trial", "kill:trial:3s", "kill:nobody:after=1s",
                                   "kill:agent=3:after=1s", "kill:trial=x:after=1s", "kill:trial:after=-1",
                                   "eio:disk:after=1", "eio:db:after=1.5", "kill:agent:after=1s:more",
                                   "eio:db:after=3 nonsense", "drop:letter:after=1", "drop:start:after=0.5",
                                   NULL};
         *w; w++) {
        setenv("AVSWEEP_FAULT", *w, 1);
        assert_int_equal(avs_fault_check(&e), AVS_ERANGE);
    }
    setenv("AVSWEEP_FAULT", "kill:trial=7:after=3s  eio:db:after=100", 1);
    assert_int_equal(avs_fault_check(&e), AVS_OK);
    int64_t after = 0;
    assert_int_equal(avs_fault_db(&after), AVS_FAULT_EIO);
    assert_int_equal(after, 100);
    unsetenv("AVSWEEP_FAULT");
    assert_int_equal(avs_fault_check(&e), AVS_OK);
    assert_int_equal(avs_fault_db(&after), AVS_FAULT_NONE);
}

/* How a child ends that arms itself and then waits for half a second. */
static int end_of(const char *fault, const char *who, int64_t number)
{
    int status = 0;
    setenv("AVSWEEP_FAULT", fault, 1);
    pid_t pid = fork();
    if (pid == 0) {
        avs_fault_arm(who, number);
        for (int i = 0; i < 50; i++) usleep(10000);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unsetenv("AVSWEEP_FAULT");
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void only_who_is_named_is_killed(void **state)
{
    (void)state;
    assert_int_equal(end_of("kill:trial=7:after=0.05s", "trial", 7), SIGKILL);
    assert_int_equal(end_of("kill:trial:after=0", "trial", 3), SIGKILL);
    assert_int_equal(end_of("kill:trial=7:after=0.05s", "trial", 8), 0);
    assert_int_equal(end_of("kill:agent:after=0.05s", "coordinator", -1), 0);
}

static void only_the_message_of_that_number_is_lost(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    setenv("AVSWEEP_FAULT", "drop:start:after=1 drop:start:after=3 drop:go:after=0", 1);
    assert_int_equal(avs_fault_check(&e), AVS_OK);
    const bool lost[] = {false, true, false, true, false};
    for (int i = 0; i < 5; i++) assert_int_equal(avs_fault_drops("start"), lost[i]);
    assert_true(avs_fault_drops("go"));
    assert_false(avs_fault_drops("go"));
    assert_false(avs_fault_drops("stop"));
    unsetenv("AVSWEEP_FAULT");
    assert_false(avs_fault_drops("start"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_faults_are_refused),
        cmocka_unit_test(only_who_is_named_is_killed),
        cmocka_unit_test(only_the_message_of_that_number_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

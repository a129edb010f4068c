use std::time::Duration;

use tenure_sandbox::Toolchains;

use crate::house::{House, run, text};

/// The smallest program of each language that does more than start: it loads a module, or is compiled and linked.
const PROGRAMS: [(&str, &str); 10] = [
    ("python", "python3 -c 'import hashlib; print(6 * 7)'"),
    ("node", "node -e 'require(\"crypto\"); console.log(6 * 7)'"),
    ("ruby", "ruby -e 'require \"digest\"; puts 6 * 7'"),
    ("perl", "perl -e 'use POSIX; print 6 * 7'"),
    ("php", "php -r 'echo 6 * 7;'"),
    (
        "java",
        "echo 'class A { public static void main(String[] a) { new java.security.SecureRandom(); System.out.println(6 * 7); } }' > A.java && java A.java",
    ),
    ("bash", "bash -c 'echo $((6 * 7))'"),
    ("sh", "sh -c 'echo $((6 * 7))'"),
    ("lua", "lua -e 'print(6 * 7)'"),
    (
        "c",
        "printf '%s\\n' '#include <stdio.h>' 'int main(void) { return puts(\"42\") < 0; }' > a.c && gcc a.c -o a && ./a",
    ),
];

#[test]
fn every_language_that_is_told_of_runs_inside() {
    let told = Toolchains::begin().within(Duration::from_secs(60));
    assert!(told.iter().any(|found| found.language == "sh"), "{told:?}");
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.limits.memory_bytes = 2 << 30;
    let (_jail, mut client) = house.open_as(&spec);
    for (language, script) in PROGRAMS.iter().filter(|(name, _)| told.iter().any(|found| found.language == *name)) {
        let output = run(&mut client, &["sh", "-c", script]);
        assert_eq!(text(&output.stdout), "42", "{language}: {}", text(&output.stderr));
    }
}

//! What the page says, in each of its languages. What everup itself found out (reasons, evidence, messages) stays as
//! it was written.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

/// A row holds a word in every language, so none can be missing in one of them.
macro_rules! words {
    ($($name:ident: $en:literal, $ko:literal;)*) => {
        /// The words of one language. `{…}` in a word is filled in by [`fill`].
        #[derive(Debug)]
        pub(crate) struct Words {
            /// The BCP 47 tag.
            pub(crate) lang: &'static str,
            $(pub(crate) $name: &'static str,)*
        }

        static ENGLISH: Words = Words { lang: "en", $($name: $en,)* };
        static KOREAN: Words = Words { lang: "ko", $($name: $ko,)* };

        impl Words {
            /// Every word with its name.
            pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

words! {
    // The frame.
    all_services: "All services", "모든 서비스";
    skip: "Skip to the content", "본문으로 건너뛰기";
    live: "live", "실시간";
    paused: "paused", "일시 정지";
    reconnecting: "everup does not answer; trying again", "everup이 응답하지 않아 다시 연결하는 중";
    without_script: "This is how it was at {time}. Load the page again for a newer look.",
        "{time} 기준 화면입니다. 최신 상태를 보려면 페이지를 다시 불러오세요.";
    trouble_count: "{n} in trouble", "문제 {n}개";
    all_well: "all well", "모두 정상";
    now_is: "{name} is now: {state}", "{name} 상태: {state}";
    changes_many: "{n} services changed their state", "서비스 {n}개의 상태가 바뀜";
    // The machine and everup.
    up: "up {time}", "가동 {time}";
    machine: "Machine", "시스템";
    cpu: "CPU", "CPU";
    memory: "Memory", "메모리";
    load: "Load", "부하";
    disk: "Disk {at}", "디스크 {at}";
    free_of: "{free} free of {total}", "{total} 중 {free} 남음";
    of_cpus: "{percent} of {n} cores", "코어 {n}개의 {percent}";
    used_of: "{used} of {total}", "{total} 중 {used}";
    own_use: "everup itself", "everup 자체";
    warnings: "Warnings", "경고";
    // The table.
    services: "Services", "서비스";
    caption: "Services with their state and what they used in the last 5 minutes",
        "서비스 상태와 최근 5분 사용량";
    no_services: "This project has no services.", "이 프로젝트에는 서비스가 없습니다.";
    service: "Service", "서비스";
    state: "State", "상태";
    uptime: "Up for", "가동 시간";
    restarts: "Restarts", "재시작";
    probes: "Probes", "상태 검사";
    requests: "Requests", "요청";
    note: "Note", "비고";
    instances_ready: "{ready} of {n} ready", "{n}개 중 {ready}개 준비됨";
    no_instance: "no instance", "인스턴스 없음";
    not_running: "Nothing runs.", "실행 중이 아닙니다.";
    no_probe: "no probe", "검사 없음";
    no_answer_yet: "no answer yet", "아직 응답 없음";
    probes_passed: "{ok} of the last {n} probes passed", "최근 검사 {n}회 중 {ok}회 통과";
    probe_figures: "last {last}, p50 {p50}, p99 {p99}", "최근 {last}, p50 {p50}, p99 {p99}";
    spark_range: "{what}, last 5 minutes: {low} to {high}", "{what}, 최근 5분: {low} ~ {high}";
    spark_none: "{what}: nothing read yet", "{what}: 아직 측정값 없음";
    per_minute: "{n}/min", "분당 {n}";
    errors: "{n} errors", "오류 {n}건";
    seen_in_all: "{n} access lines seen", "접근 로그 {n}줄 확인";
    no_access_lines: "no access lines seen", "접근 로그 없음";
    no_access_lines_why: "log_metrics is set and no access line was seen: the program may not write them. Tornado writes a 200 only if told to.",
        "log_metrics가 설정되어 있지만 접근 로그가 보이지 않습니다. 프로그램이 기록하지 않을 수 있습니다. Tornado는 설정해야 200 응답을 기록합니다.";
    no_log_metrics: "Not counted: log_metrics of this service says which access lines to count.",
        "집계하지 않음: 이 서비스의 log_metrics에 어떤 접근 로그를 셀지 정하세요.";
    // States.
    stopped: "stopped", "정지됨";
    waiting: "waiting", "대기 중";
    starting: "starting", "시작 중";
    running: "running", "실행 중";
    reloading: "reloading", "새로 적용 중";
    stopping: "stopping", "정지하는 중";
    backoff: "backoff", "재시도 대기";
    mark_start: "start", "시작";
    mark_end: "end", "종료";
    mark_reload: "new code", "새 코드";
    exited: "exited", "종료됨";
    failed: "failed", "실패";
    completed: "completed", "완료";
    unhealthy: "unhealthy", "비정상";
    not_ready: "not ready", "준비 안 됨";
    crash_looping: "crash looping", "반복 비정상 종료";
    next_try: "next attempt in {time}", "{time} 후 재시도";
    // Causes.
    cause_exit: "exit {code}", "종료 코드 {code}";
    cause_exit_plain: "exit", "종료";
    cause_signal: "signal {signal}", "시그널 {signal}";
    cause_signal_plain: "signal", "시그널";
    cause_oom: "out of memory", "메모리 부족";
    cause_probe: "probe failed", "상태 검사 실패";
    cause_watchdog: "watchdog missed", "워치독 응답 없음";
    cause_memory_limit: "memory limit", "메모리 한도 초과";
    cause_watch: "file changed", "파일 변경";
    cause_config: "configuration changed", "설정 변경";
    cause_dependency: "dependency", "의존 서비스";
    cause_schedule: "schedule", "일정";
    cause_user: "asked for", "사용자 요청";
    cause_spawn_error: "cannot be started", "시작할 수 없음";
    cause_start_timeout: "not ready in time", "제시간에 준비되지 않음";
    cause_supervisor_lost: "everup was gone", "everup이 없었음";
    certain: "certain", "확실함";
    likely: "likely", "가능성 높음";
    guess: "a guess", "추정";
    probably: "probably {what}", "{what} (가능성 높음)";
    perhaps: "perhaps {what}", "{what} (추정)";
    last_end: "last end: {what}, {ago}", "마지막 종료: {what}, {ago}";
    // Times.
    just_now: "now", "방금";
    seconds_ago: "{n}s ago", "{n}초 전";
    minutes_ago: "{n}m ago", "{n}분 전";
    hours_ago: "{n}h ago", "{n}시간 전";
    days_ago: "{n}d ago", "{n}일 전";
    unit_d: "d", "일 ";
    unit_h: "h", "시간 ";
    unit_m: "m", "분 ";
    unit_s: "s", "초";
    // A service.
    instances: "Instances", "인스턴스";
    whole_service: "all", "전체";
    charts: "Charts", "그래프";
    range: "Time range", "기간";
    range_15m: "15 min", "15분";
    range_1h: "1 h", "1시간";
    range_6h: "6 h", "6시간";
    range_24h: "24 h", "24시간";
    range_7d: "7 d", "7일";
    chart_cpu: "CPU of one core", "CPU, 코어 하나 기준";
    chart_memory: "Memory", "메모리";
    chart_latency: "Probe latency", "검사 응답 시간";
    chart_table: "As a table", "표로 보기";
    chart_of: "{name}: {what}", "{name}: {what}";
    chart_empty: "Nothing recorded in this time.", "이 기간에 기록된 값이 없습니다.";
    time: "Time", "시각";
    instance: "Instance", "인스턴스";
    lowest: "lowest", "최저";
    average: "average", "평균";
    highest: "highest", "최고";
    latest: "latest", "최근";
    log: "Log", "로그";
    log_caption: "The last {n} lines", "최근 {n}줄";
    log_empty: "Nothing was written yet.", "아직 출력이 없습니다.";
    events: "Events", "이벤트";
    events_empty: "Nothing happened yet.", "아직 이벤트가 없습니다.";
    event: "Event", "이벤트";
    why: "Cause", "원인";
    runs: "Ended runs", "종료된 실행";
    runs_empty: "No run has ended.", "종료된 실행이 없습니다.";
    run: "run {n}", "실행 {n}";
    took: "took {time}", "{time} 걸림";
    ran_for: "ran {time}", "{time} 동안 실행";
    evidence: "Evidence", "근거";
    trend: "Trend", "추세";
    last_lines: "Last lines", "마지막 출력";
    changed_before: "Changed shortly before", "직전에 바뀐 것";
    then: "Then", "이후 조치";
    usage: "Usage", "사용량";
    pid: "Main process", "주 프로세스";
    processes: "Processes", "프로세스";
    threads: "Threads", "스레드";
    open_fds: "Open descriptors", "열린 파일 디스크립터";
    fds_of: "{n} of {limit}", "{limit} 중 {n}";
    swap: "Swap", "스왑";
    share: "Share of the machine's memory", "시스템 메모리 비율";
    memory_limit: "Memory limit", "메모리 한도";
    cpu_time: "CPU time", "CPU 시간";
    cpu_times: "{user} user, {system} system", "사용자 {user}, 커널 {system}";
    read: "Read", "읽음";
    written: "Written", "씀";
    io_wait: "Waited for storage", "저장장치 대기";
    switches: "Context switches", "문맥 교환";
    switches_kinds: "{own} voluntary, {forced} forced", "자발적 {own}, 강제 {forced}";
    faults: "Page faults", "페이지 폴트";
    faults_kinds: "{minor} minor, {major} major", "마이너 {minor}, 메이저 {major}";
    oom_kills: "Kills for memory", "메모리 부족 종료";
    not_to_be_read: "not to be read here", "여기서는 읽을 수 없음";
    // Actions.
    actions: "Actions", "작업";
    start: "Start", "시작";
    stop: "Stop", "정지";
    restart: "Restart", "재시작";
    reload: "Reload", "새로 적용";
    cancel: "Cancel", "취소";
    token: "Token", "토큰";
    token_hint: "the content of web.token_file; kept until this tab is closed",
        "web.token_file의 내용이며 이 탭을 닫을 때까지만 보관됩니다";
    token_missing: "Enter the token first.", "먼저 토큰을 입력하세요.";
    no_actions: "Changes are off here: web.token_file is not set. In a terminal:",
        "여기서는 변경할 수 없습니다: web.token_file이 설정되지 않았습니다. 터미널에서:";
    script_for_actions: "Buttons need JavaScript. In a terminal:",
        "버튼을 쓰려면 JavaScript가 필요합니다. 터미널에서:";
    confirm_stop: "Stop {name}? It stays stopped until someone starts it.",
        "{name}을(를) 정지할까요? 누군가 시작할 때까지 정지 상태로 남습니다.";
    confirm_restart: "Restart {name}? Its instances go one after the other.",
        "{name}을(를) 재시작할까요? 인스턴스를 하나씩 차례로 재시작합니다.";
    under_way: "{action}: under way", "{action}: 진행 중";
    unreachable: "everup did not answer: {why}", "everup이 응답하지 않았습니다: {why}";
    // Refusals.
    not_found: "Not here", "찾을 수 없음";
    needs_token: "This address needs the token", "토큰이 필요한 주소입니다";
    refused: "Refused", "거부됨";
    broken: "Something went wrong", "문제가 생겼습니다";
    token_how: "It is reachable from other machines, so even looking needs the token, and a browser cannot send one by itself.",
        "다른 컴퓨터에서 접근할 수 있는 주소라 보기만 해도 토큰이 필요한데, 브라우저는 스스로 토큰을 보낼 수 없습니다.";
    token_tunnel: "Safest: set web.listen to 127.0.0.1:{port} and look through a tunnel:",
        "가장 안전한 방법: web.listen을 127.0.0.1:{port}로 두고 터널로 접속하세요:";
    token_curl: "For programs:", "프로그램에서:";
}

impl Words {
    /// The language that a visitor asks for and we speak; English for all others.
    pub(crate) fn of(headers: &HeaderMap) -> &'static Self {
        let wishes = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best: (f32, &'static Self) = (0.0, &ENGLISH);
        for wish in wishes.split(',') {
            let (tag, rest) = wish.split_once(';').unwrap_or((wish, ""));
            let weight = rest.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse().ok()).unwrap_or(0.0);
            let primary = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
            let known = match primary.as_str() {
                "ko" => &KOREAN,
                "en" | "*" => &ENGLISH,
                _ => continue,
            };
            // Of equal wishes the first counts.
            if weight > best.0 {
                best = (weight, known);
            }
        }
        best.1
    }

    /// Every language.
    pub(crate) fn languages() -> [&'static Self; 2] {
        [&ENGLISH, &KOREAN]
    }
}

/// A word with its `{…}` filled in.
pub(crate) fn fill(word: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut out = String::with_capacity(word.len() + 16);
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = behind.split_once('}') else { break };
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            // Writing into a String cannot fail.
            let _ = write!(out, "{value}");
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_exists_in_every_language_and_takes_the_same_values() {
        let values = |word: &str| {
            let mut names: Vec<String> =
                word.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let [english, korean] = Words::languages();
        assert!(english.all().count() > 100);
        for ((name, en), (other, ko)) in english.all().zip(korean.all()) {
            assert_eq!(name, other);
            assert!(!en.trim().is_empty() && !ko.trim().is_empty(), "{name}");
            assert_eq!(values(en), values(ko), "{name}");
            let hangul = ko.chars().any(|c| ('\u{ac00}'..='\u{d7a3}').contains(&c));
            let says_something =
                en.split('}').any(|part| part.split('{').next().unwrap().contains(char::is_alphabetic));
            assert!(hangul || name == "cpu" || !says_something, "{name} is not translated");
            assert!(en.is_ascii(), "{name}");
        }
    }

    #[test]
    fn the_language_is_the_one_most_wished_for() {
        for (wish, lang) in [
            ("", "en"),
            ("ko", "ko"),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
            ("en-US,en;q=0.9,ko;q=0.8", "en"),
            ("de,ko;q=0.5,en;q=0.3", "ko"),
            ("de-DE,fr", "en"),
            ("ko;q=0", "en"),
            ("KO", "ko"),
            ("kok", "en"),
            ("*;q=0.1, ko;q=0.2", "ko"),
            ("en;q=x,ko;q=0.1", "ko"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, wish.parse().unwrap());
            assert_eq!(Words::of(&headers).lang, lang, "{wish}");
        }
    }

    #[test]
    fn values_are_put_where_they_belong() {
        assert_eq!(fill("{free} free of {total}", &[("total", &"2"), ("free", &1)]), "1 free of 2");
        assert_eq!(fill("as it is", &[]), "as it is");
        assert_eq!(fill("{n}", &[("n", &"{n}")]), "{n}");
    }
}

use sv1_api::client::{ANSWER_TIMEOUT, CONFIGURE_TIMEOUT, SILENCE_TIMEOUT};
use sv1_api::reject::Reject;

use super::*;
use crate::testing::{now, standard_work, sv1_job};

/// A miner with what came out of it.
struct Scene {
    miner: Sv1Miner,
    now: Now,
    sent: Vec<String>,
    news: Vec<News>,
    work: Option<WorkSource>,
    end: Option<End>,
}

impl Scene {
    fn new() -> Self {
        let config = ClientConfig::new("a.pool.example", "alice");
        let mut scene = Self {
            miner: Sv1Miner::new(config, 5, now()),
            now: now(),
            sent: Vec::new(),
            news: Vec::new(),
            work: None,
            end: None,
        };
        scene.take();
        scene
    }

    fn take(&mut self) {
        while let Some(output) = self.miner.poll_output() {
            assert_eq!(self.end, None, "nothing follows the end");
            match output {
                Output::Send(line) => self.sent.push(line),
                Output::Assign(work) => self.work = work,
                Output::Tell(news) => self.news.push(news),
                Output::Close(end) => self.end = Some(end),
            }
        }
    }

    fn hear(&mut self, line: &str) -> &mut Self {
        self.miner.handle_line(line.as_bytes(), self.now);
        self.take();
        self
    }

    /// Lets time pass, timers included.
    fn wait(&mut self, duration: Duration) -> &mut Self {
        let until = self.now.after(duration);
        while let Some(at) = self.miner.poll_timeout().filter(|at| *at <= until.instant) {
            self.now = self.now.after(at - self.now.instant);
            self.miner.handle_timeout(self.now);
            self.take();
        }
        self.now = until;
        self
    }

    fn subscribe(&mut self) -> &mut Self {
        self.hear(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#)
            .hear(r#"{"id":2,"result":[[["mining.notify","s7"]],"0102",4],"error":null}"#)
    }

    fn authorize(&mut self) -> &mut Self {
        self.hear(r#"{"id":3,"result":true,"error":null}"#)
    }

    fn mining() -> Self {
        let mut scene = Self::new();
        scene.subscribe().authorize().hear(&sv1_job("a", 20, true));
        scene
    }

    fn work(&mut self) -> &mut WorkSource {
        self.work.as_mut().unwrap()
    }

    fn job_id(&self) -> &str {
        match self.work.as_ref().unwrap().task() {
            Task::Sv1 { job, .. } => &job.notify().job_id,
            other => panic!("{other:?}"),
        }
    }

    fn share(&mut self) -> FoundShare {
        let now = self.now;
        self.work().next_unit(now).unwrap().share(9)
    }
}

#[test]
fn a_find_becomes_a_share_of_its_job() {
    let mut scene = Scene::mining();
    assert_eq!(scene.news, [News::Welcome]);
    scene.wait(Duration::from_secs(2));
    let share = scene.share();
    scene.miner.handle_found(&share, scene.now).unwrap();
    scene.take();
    // Version and extranonce begin rolled, so that they are seen to be.
    assert_eq!(
        scene.sent.last().unwrap().trim_end(),
        r#"{"id":5,"method":"mining.submit","params":["alice","a","05000000","00000016","00000009","0000a000"]}"#
    );
    scene.hear(r#"{"id":5,"result":true,"error":null}"#);
    assert_eq!(scene.news.last(), Some(&News::Acknowledged(1)));
    assert_eq!(scene.miner.counts().accepted, 1);
}

#[test]
fn a_rejected_share_is_told_in_the_servers_words_on_one_line() {
    let mut scene = Scene::mining();
    let share = scene.share();
    scene.miner.handle_found(&share, scene.now).unwrap();
    scene.take();
    scene.hear(r#"{"id":5,"result":null,"error":[23,"low\ndifficulty",null]}"#);
    let reason = "low\\ndifficulty (23)".to_owned();
    assert_eq!(scene.news.last(), Some(&News::Rejected { reason }));
    scene.hear(r#"{"id":null,"method":"client.show_message","params":["a\nb"]}"#);
    assert_eq!(scene.news.last(), Some(&News::Message("a\\nb".to_owned())));
}

#[test]
fn a_job_that_comes_before_the_welcome_is_hashed_after_it() {
    let mut scene = Scene::new();
    scene.subscribe().hear(&sv1_job("a", 20, true));
    assert!(scene.work.is_none());
    scene.wait(Duration::from_secs(3)).authorize();
    assert_eq!(scene.job_id(), "a");
    assert_eq!(scene.share().ntime, 23);
    assert_eq!(
        scene.miner.poll_timeout(),
        Some(scene.now.instant + SILENCE_TIMEOUT)
    );
}

#[test]
fn each_job_begins_with_other_rolls() {
    let mut scene = Scene::mining();
    assert_eq!(scene.share().extranonce, [5, 0, 0, 0]);
    scene.hear(&sv1_job("b", 20, false));
    assert_eq!(scene.job_id(), "b");
    assert_eq!(scene.share().extranonce, [6, 0, 0, 0]);
}

#[test]
fn another_mask_leaves_the_jobs_time_as_it_is() {
    let mut scene = Scene::mining();
    scene
        .wait(Duration::from_secs(30))
        .hear(r#"{"id":null,"method":"mining.set_version_mask","params":["00000000"]}"#);
    let share = scene.share();
    assert_eq!((share.ntime, share.version), (50, 0x2000_0000));
}

#[test]
fn a_clean_job_ends_late_finds() {
    let mut scene = Scene::mining();
    let late = scene.share();
    scene.hear(&sv1_job("b", 20, true));
    assert_eq!(
        scene.miner.handle_found(&late, scene.now),
        Err(SubmitError::Stale)
    );
    assert_eq!(scene.miner.counts().submitted, 0);
}

#[test]
fn a_find_of_another_protocol_is_refused() {
    let mut scene = Scene::mining();
    let other = Task::sv2(standard_work(1, [0xff; 32]), true);
    let share = WorkSource::new(other, 0).next_unit(now()).unwrap().share(1);
    assert_eq!(
        scene.miner.handle_found(&share, scene.now),
        Err(SubmitError::NotWorking)
    );
}

#[test]
fn every_refusal_ends_the_connection_with_its_reason() {
    let mut unwelcome = Scene::new();
    unwelcome
        .subscribe()
        .hear(r#"{"id":3,"result":null,"error":[24,"who\u0007?",null]}"#);
    let reason = "who\\u{7}? (24)".to_owned();
    assert_eq!(unwelcome.end, Some(End::AuthorizeRefused { reason }));

    let mut full = Scene::new();
    full.hear(r#"{"id":1,"result":null,"error":[20,"no",null]}"#)
        .hear(r#"{"id":2,"result":null,"error":[20,"full",null]}"#)
        .hear(r#"{"id":3,"result":null,"error":[20,"full",null]}"#);
    let reason = "full (20)".to_owned();
    assert_eq!(full.end, Some(End::SubscribeRefused { reason }));
}

#[test]
fn a_server_that_does_not_answer_gives_no_work_or_falls_silent_is_left() {
    let mut mute = Scene::new();
    mute.wait(CONFIGURE_TIMEOUT + ANSWER_TIMEOUT);
    assert_eq!(mute.end, Some(End::NoAnswer));

    let mut idle = Scene::new();
    idle.subscribe().authorize();
    idle.wait(WORK_TIMEOUT - Duration::from_secs(1));
    assert_eq!(idle.end, None);
    idle.hear(r#"{"id":1,"method":"mining.ping","params":[]}"#)
        .wait(Duration::from_secs(1));
    assert_eq!(idle.end, Some(End::NoWork));
    // A late word changes nothing.
    idle.hear(&sv1_job("a", 20, true));
    assert!(idle.work.is_none() && idle.miner.poll_timeout().is_none());

    let mut silent = Scene::mining();
    silent.wait(SILENCE_TIMEOUT - Duration::from_secs(1));
    assert!(silent.work.is_some());
    silent.wait(Duration::from_secs(1));
    assert_eq!(silent.end, Some(End::Silent));
    assert!(silent.work.is_none());
}

#[test]
fn reconnect_is_passed_on_within_the_domain() {
    let mut scene = Scene::mining();
    scene.hear(r#"{"id":null,"method":"client.reconnect","params":["evil.example",1]}"#);
    assert_eq!(scene.end, None);
    assert_eq!(scene.miner.rejected().of(Reject::NotSupported), 1);
    scene.hear(r#"{"id":null,"method":"client.reconnect","params":["b.pool.example",3334,5]}"#);
    assert_eq!(
        scene.end,
        Some(End::Reconnect {
            host: "b.pool.example".into(),
            port: 3334,
            wait: Duration::from_secs(5),
        })
    );
}

#[test]
fn stopping_ends_the_connection() {
    let mut scene = Scene::mining();
    let share = scene.share();
    scene.miner.handle_stop();
    scene.take();
    assert_eq!(scene.end, Some(End::Stopped));
    assert!(scene.work.is_none());
    assert_eq!(
        scene.miner.handle_found(&share, scene.now),
        Err(SubmitError::NotWorking)
    );
}

#[test]
fn broken_lines_and_missing_answers_are_counted() {
    let mut scene = Scene::mining();
    scene.hear("{").hear("[]").hear("[]");
    scene.miner.handle_long_line(LineTooLong { limit: 1 });
    let anomalies: Vec<_> = scene
        .miner
        .anomalies()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    let counted = |reason: Reject, count| (reason.text().to_owned(), count);
    assert_eq!(
        anomalies,
        [
            counted(Reject::NotJson, 1),
            counted(Reject::NotAMessage, 2),
            counted(Reject::LineTooLong, 1),
        ]
    );
    assert_eq!(scene.miner.session(), Some("s7"));
}

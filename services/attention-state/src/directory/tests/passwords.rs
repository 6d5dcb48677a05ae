//! What a text's passwords cost and change: one computation when all are as before, and never what a user has chosen since.

use hilo_kit::db::Db;
use secrecy::SecretString;

use crate::directory::announce::Announcer;
use crate::directory::apply::{Admin, Mode, Outcome};
use crate::directory::domain::key::UserKey;
use crate::directory::domain::model::Credential;
use crate::directory::passwords;
use crate::directory::testing::{Served, apply, database};
use crate::identity::password::Hasher;
use crate::identity::store;

const USERS: [&str; 4] = ["ana", "eva", "luis", "rosa"];

/// Agents with these passwords, and a campaign with a name to change.
fn text(name: &str, passwords: &[(&str, &str)]) -> String {
    let members: Vec<&str> = passwords.iter().map(|(user, _)| *user).collect();
    let mut yaml = format!(
        "accounts:\n  - {{key: mail, channel: email, address: mail@ejemplo.pe}}\ncampaigns:\n  - {{key: uno, name: {name}, channel: email, \
         accounts: [mail], members: [{}], assignment_mode: everyone}}\nusers:\n",
        members.join(", ")
    );
    for (user, password) in passwords {
        yaml += &format!("  - {{key: {user}, name: {user}, roles: [agent], {password}}}\n");
    }
    yaml
}

fn clear(of: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    of.iter().map(|user| (*user, "password: la-primera-frase")).collect()
}

struct Applied {
    db: Db,
    hasher: Hasher,
}

impl Applied {
    async fn new() -> Self {
        Self { db: database().await, hasher: Hasher::default() }
    }

    /// The difference, and how many hashes it took.
    async fn apply(&self, yaml: &str, dry_run: bool) -> (Vec<String>, u64) {
        let before = self.hasher.computed();
        let outcome = self.outcome(yaml, dry_run).await;
        (outcome.differences, self.hasher.computed() - before)
    }

    async fn outcome(&self, yaml: &str, dry_run: bool) -> Outcome {
        let admin = Admin::new(self.db.clone(), self.hasher.clone(), Announcer::new(None));
        let mode = Mode { dry_run, prune: true };
        let outcome = admin.apply(yaml.to_owned(), mode, "service:test".into()).await.unwrap();
        assert_eq!(outcome.errors, []);
        outcome
    }

    /// Whether this is the password in force.
    async fn signs_in(&self, user: &'static str, password: &str) -> bool {
        let hash = self.stored(user).await;
        self.hasher.verify(SecretString::from(password), Some(hash)).await.unwrap()
    }

    async fn stored(&self, user: &'static str) -> String {
        self.db.read(move |conn| Box::pin(store::hash_of(conn, user))).await.unwrap().expect("a password")
    }

    async fn choose(&self, user: &'static str, password: &str) {
        let hash = self.hasher.hash(SecretString::from(password)).await.unwrap();
        let before = self.stored(user).await;
        let replaced = self
            .db
            .read(move |conn| Box::pin(async move { store::replace_hash(conn, user, &before, &hash).await }));
        assert!(replaced.await.unwrap());
    }
}

#[tokio::test]
async fn passwords_given_again_cost_one_hash_together_and_only_new_users_cost_more() {
    let applied = Applied::new().await;
    let (differences, cost) = applied.apply(&text("Uno", &clear(&USERS[..3])), false).await;
    assert_eq!((differences.len(), cost), (8, 4), "one each and one for all: {differences:?}");
    let renamed = text("Dos", &clear(&USERS[..3]));
    assert_eq!(applied.apply(&renamed, true).await, (vec!["~ campaign uno: name Uno -> Dos".to_owned()], 1));
    assert_eq!(applied.apply(&renamed, false).await.1, 1);
    assert_eq!(applied.apply(&renamed, false).await, (Vec::new(), 1));
    let (differences, cost) = applied.apply(&text("Dos", &clear(&USERS)), false).await;
    assert!(differences.contains(&"~ user rosa: password".to_owned()), "{differences:?}");
    assert_eq!(cost, 3, "the known ones together, the new one, and the new whole");
    assert_eq!(applied.apply(&text("Dos", &clear(&USERS)), false).await, (Vec::new(), 1));
}

#[tokio::test]
async fn one_new_password_is_found_among_those_that_stay() {
    let applied = Applied::new().await;
    applied.apply(&text("Uno", &clear(&USERS)), false).await;
    let mut other = clear(&USERS);
    other[2].1 = "password: la-segunda-frase";
    let found = vec!["~ user luis: password".to_owned()];
    assert_eq!(applied.apply(&text("Uno", &other), true).await.0, found, "a dry run keeps nothing");
    assert_eq!(applied.apply(&text("Uno", &other), false).await.0, found);
    assert!(applied.signs_in("luis", "la-segunda-frase").await);
    assert!(applied.signs_in("ana", "la-primera-frase").await);
    assert_eq!(applied.apply(&text("Uno", &other), false).await, (Vec::new(), 1));
}

#[tokio::test]
async fn a_text_left_as_it_was_takes_no_chosen_password_back_and_a_new_one_does() {
    let applied = Applied::new().await;
    let first = text("Uno", &clear(&USERS));
    applied.apply(&first, false).await;
    for chosen in ["la-que-eligio-ana", "la-que-eligio-ana-despues"] {
        applied.choose("ana", chosen).await;
        assert_eq!(applied.apply(&first, false).await, (Vec::new(), 1));
        assert!(applied.signs_in("ana", chosen).await);
    }
    // The same without the help of the fingerprint.
    sqlx::query("DELETE FROM identity.given").execute(applied.db.pool()).await.unwrap();
    assert_eq!(applied.apply(&first, false).await.0, Vec::<String>::new());
    assert!(applied.signs_in("ana", "la-que-eligio-ana-despues").await);
    let mut other = clear(&USERS);
    other[0].1 = "password: la-del-administrador";
    assert_eq!(applied.apply(&text("Uno", &other), false).await.0, ["~ user ana: password"]);
    assert!(applied.signs_in("ana", "la-del-administrador").await);
}

/// Guards the comparison of the stored hashes' digest: without it the fingerprint of before would hide that the
/// password in force is another.
#[tokio::test]
async fn a_hash_given_in_between_is_not_taken_for_the_password_of_before() {
    let applied = Applied::new().await;
    let first = text("Uno", &clear(&USERS[..1]));
    applied.apply(&first, false).await;
    let hash = applied.hasher.hash(SecretString::from("la-frase-del-hash")).await.unwrap();
    let hashed = text("Uno", &[("ana", &format!("password_hash: {hash:?}"))]);
    assert_eq!(applied.apply(&hashed, false).await, (vec!["~ user ana: password".to_owned()], 0));
    assert_eq!(applied.apply(&hashed, false).await, (Vec::new(), 0));
    assert_eq!(applied.apply(&first, false).await.0, ["~ user ana: password"]);
    assert!(applied.signs_in("ana", "la-primera-frase").await);
}

/// Guards `still_hold`: what was compared before the directory's lock was taken must not be believed after it.
#[tokio::test]
async fn what_was_compared_counts_only_while_nothing_else_was_given() {
    let applied = Applied::new().await;
    apply(&applied.db, &text("Uno", &clear(&USERS[..1]))).await;
    let given = [(
        UserKey::unchecked("ana".to_owned()),
        Credential::Password(SecretString::from("la-primera-frase")),
    )];
    let new = passwords::compare(&applied.db, &applied.hasher, &given, false).await.unwrap();
    assert_eq!(new.set, []);
    let holds = async || {
        let new = new.clone();
        let asked =
            applied.db.read(move |conn| Box::pin(async move { passwords::still_hold(conn, &new).await }));
        asked.await.unwrap()
    };
    assert!(holds().await);
    applied.choose("ana", "la-que-eligio-ana").await;
    assert!(holds().await, "what a user chooses is not what was given");
    apply(&applied.db, &text("Uno", &[("ana", "password: la-segunda-frase")])).await;
    assert!(!holds().await);
}

#[tokio::test]
async fn of_passwords_given_at_the_same_instant_the_last_version_has_its_own() {
    let applied = std::sync::Arc::new(Applied::new().await);
    apply(&applied.db, &text("Uno", &clear(&USERS[..1]))).await;
    let frases = ["frase-numero-uno", "frase-numero-dos", "frase-numero-tres"];
    let tasks = frases.map(|frase| {
        let applied = applied.clone();
        let yaml = text("Uno", &[("ana", &format!("password: {frase}"))]);
        tokio::spawn(async move { (applied.outcome(&yaml, false).await, frase) })
    });
    let mut ended = Vec::new();
    for task in tasks {
        let (outcome, frase) = task.await.unwrap();
        assert_eq!(outcome.differences, ["~ user ana: password"]);
        ended.push((outcome.version, frase));
    }
    ended.sort_unstable();
    let versions: Vec<i64> = ended.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, [3, 4, 5]);
    assert!(applied.signs_in("ana", ended[2].1).await, "{ended:?}");
}

#[tokio::test]
async fn a_change_that_touches_no_user_ends_nobodys_session() {
    let served = Served::start().await;
    apply(&served.db, &text("Uno", &clear(&USERS))).await;
    apply(&served.db, &text("Dos", &clear(&USERS))).await;
    let set: i64 = sqlx::query_scalar("SELECT count(*) FROM directory.audit WHERE action = 'password_set'")
        .fetch_one(served.db.pool())
        .await
        .unwrap();
    assert_eq!(set, 4, "only by the first");
}

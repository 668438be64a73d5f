//! The catalogue: each text in English, then in German. A text that lacks a language does not compile.

macro_rules! catalogue {
    ($($name:ident: $english:literal, $german:literal;)+) => {
        /// The texts in one language.
        pub(crate) struct Texts {
            $(pub(crate) $name: &'static str,)+
        }

        pub(super) static ENGLISH: Texts = Texts { $($name: $english,)+ };
        pub(super) static GERMAN: Texts = Texts { $($name: $german,)+ };

        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $german),)+];
    };
}

catalogue! {
    access: "Who can, what can", "Wer darf, was darf";
    action: "Action", "Aktion";
    actions: "Actions", "Aktionen";
    actor: "Actor", "Akteur";
    actor_id: "Id of the actor", "Id des Akteurs";
    after: "After", "Nachher";
    after_entry: "After entry", "Nach Eintrag";
    all_below: "Everything below", "Alles darunter";
    all_directly_below: "All directly below", "Alle direkt darunter";
    all_entries: "All entries", "Alle Einträge";
    all_entries_about: "All entries about this principal", "Alle Einträge über diesen Principal";
    all_entries_by: "All entries by this principal", "Alle Einträge von diesem Principal";
    allowed: "Allowed", "Erlaubt";
    and_after_entry: "and after entry", "und nach Eintrag";
    answer: "Answer", "Antwort";
    any: "any", "beliebig";
    applies: "applies", "gilt";
    archived_parent: "Archived parent", "Archivierte übergeordnete Entität";
    as_of: "As of", "Stand";
    assign: "Assign a role", "Eine Rolle zuweisen";
    assign_here: "Assign a role here", "Hier eine Rolle zuweisen";
    assignment: "Assignment", "Zuweisung";
    assignment_id: "Id of the assignment", "Id der Zuweisung";
    assignments: "Assignments", "Zuweisungen";
    assignments_below: "Assignments below", "Zuweisungen darunter";
    assignments_here: "Assignments on this entity", "Zuweisungen auf dieser Entität";
    assignments_inherited: "Inherited assignments", "Geerbte Zuweisungen";
    assignments_that_reach: "Assignments that reach the resource", "Zuweisungen, die die Ressource erreichen";
    at: "At", "Zeitpunkt";
    at_hint:
        "UTC, for example 2026-10-01 or 2026-10-01T12:00",
        "UTC, zum Beispiel 2026-10-01 oder 2026-10-01T12:00";
    attempts: "Attempts", "Versuche";
    attention: "Needs attention", "Braucht Aufmerksamkeit";
    attributes: "Attributes", "Attribute";
    before: "Before", "Vorher";
    begins_later: "begins later", "beginnt später";
    below: "Below", "Darunter";
    cache: "Cache of this process", "Cache dieses Prozesses";
    canonical_text: "Canonical text, which the hash covers", "Kanonischer Text, den der Hash abdeckt";
    chain_holds: "the chain holds", "die Kette hält";
    change_entity: "Change this entity", "Diese Entität ändern";
    change_role: "Change this role", "Diese Rolle ändern";
    changed: "Changed", "Geändert";
    check: "Check", "Prüfen";
    check_here: "Check and explain a decision", "Eine Entscheidung prüfen und erklären";
    check_now: "Check and explain", "Prüfen und erklären";
    checkpoint: "Checkpoint", "Checkpoint";
    checkpoints: "Newest checkpoint", "Neuester Checkpoint";
    clock: "Offset of the clock", "Abweichung der Uhr";
    compare: "Compare", "Vergleichen";
    condition: "Condition", "Bedingung";
    condition_hint:
        "JSON, for example {\"expression\": \"context.amount <= 10000\", \"parameters\": {\"amount\": \"int\"}}",
        "JSON, zum Beispiel {\"expression\": \"context.amount <= 10000\", \"parameters\": {\"amount\": \"int\"}}";
    condition_valid: "The condition is valid.", "Die Bedingung ist gültig.";
    conditional: "conditional", "bedingt";
    conditional_items: "Also what depends on absent values", "Auch, was von fehlenden Werten abhängt";
    conditions: "Conditions of actions", "Bedingungen von Aktionen";
    conditions_hint:
        "JSON: an object with a condition for each action that has one",
        "JSON: ein Objekt mit einer Bedingung für jede Aktion, die eine hat";
    connections: "Connections of the server", "Verbindungen des Servers";
    console: "Console", "Konsole";
    context: "Context", "Kontext";
    context_hint:
        "A JSON object, for example {\"amount\": 2500}",
        "Ein JSON-Objekt, zum Beispiel {\"amount\": 2500}";
    correlation_id: "Correlation id", "Korrelations-Id";
    covered: "covered", "abgedeckt";
    create_below: "Create an entity below", "Eine Entität darunter anlegen";
    create_entity: "Create an entity", "Eine Entität anlegen";
    create_role: "Create a role", "Eine Rolle anlegen";
    created: "Created", "Angelegt";
    csv: "As CSV", "Als CSV";
    decision: "Decision", "Entscheidung";
    denied: "Denied", "Abgelehnt";
    description: "Description", "Beschreibung";
    detail: "Detail", "Einzelheit";
    details: "Details", "Einzelheiten";
    difference: "Difference", "Unterschied";
    directly_below: "Directly below", "Direkt darunter";
    disproved: "The proof does not hold.", "Der Beweis hält nicht.";
    doctor_hint:
        "The command `epr doctor` also inspects the settings, the queue, the topic, the hierarchy and \
        every condition.",
        "Der Befehl `epr doctor` untersucht auch die Einstellungen, die Queue, das Topic, die Hierarchie \
        und jede Bedingung.";
    does_not_apply: "does not apply", "gilt nicht";
    download_proof: "Download the proof", "Beweis herunterladen";
    end_suspension: "End the suspension", "Sperre aufheben";
    ended: "ended", "beendet";
    entities: "Entities", "Entitäten";
    entity: "Entity", "Entität";
    entity_id: "Id of the entity", "Id der Entität";
    entity_type: "Type of the entity", "Typ der Entität";
    entries: "Entries", "Einträge";
    entries_about: "Entries about this principal", "Einträge über diesen Principal";
    entries_by: "Entries by this principal", "Einträge von diesem Principal";
    entries_dropped: "This list searches the database only. Entries were dropped from it up to",
        "Diese Liste durchsucht nur die Datenbank. Aus ihr entfernt sind Einträge bis";
    entry: "Entry", "Eintrag";
    entry_hash: "Hash of the entry", "Hash des Eintrags";
    erased: "erased", "gelöscht";
    error: "Error", "Fehler";
    events: "Events", "Ereignisse";
    events_failed: "Failed events", "Fehlgeschlagene Ereignisse";
    events_pending: "Pending events", "Ausstehende Ereignisse";
    every_type: "every type", "jeder Typ";
    everywhere: "everywhere", "überall";
    everywhere_if_empty: "everywhere if empty", "überall, wenn leer";
    expiring: "Ends within seven days", "Endet innerhalb von sieben Tagen";
    explain_decision: "Explain this decision", "Diese Entscheidung erklären";
    external_id: "External id", "Externe Id";
    fails: "fails", "nicht erfüllt";
    field: "Field", "Feld";
    find_entity: "Entity: name or id", "Entität: Name oder Id";
    find_entry: "Ledger entry: number", "Ledger-Eintrag: Nummer";
    find_principal: "Principal: id or external id", "Principal: Id oder externe Id";
    forbidden: "Not allowed", "Nicht erlaubt";
    form_expired:
        "The form is not one of your session, or the session has ended. Open the page again.",
        "Das Formular gehört nicht zu Ihrer Sitzung, oder die Sitzung ist beendet. Öffnen Sie die Seite \
        erneut.";
    format: "Format", "Format";
    from: "From", "Von";
    gate_action: "Action", "Aktion";
    gate_condition: "Condition", "Bedingung";
    gate_type: "Type", "Typ";
    gate_window: "Window", "Zeitraum";
    given_on: "Given on", "Vergeben auf";
    global: "Global roles", "Globale Rollen";
    go_on: "Go on", "Weiter";
    granted: "Granted", "Vergeben";
    granted_by: "Granted by", "Vergeben von";
    granted_needs_audit:
        "The ledger has who granted it; reading it needs the scope epr:audit.",
        "Wer sie vergeben hat, steht im Ledger; dafür ist der Scope epr:audit nötig.";
    granted_unknown:
        "The ledger has no entry of this grant.",
        "Das Ledger hat keinen Eintrag zu dieser Vergabe.";
    hash_differs: "does not match the text", "passt nicht zum Text";
    hash_matches: "matches the text", "passt zum Text";
    health: "Health", "Zustand";
    history: "History", "Verlauf";
    holders: "Holders", "Inhaber";
    home: "Home", "Start";
    id: "Id", "Id";
    id_or_external_id: "Id or external id", "Id oder externe Id";
    id_or_external_id_hint:
        "Any id has a page, registered or not",
        "Jede Id hat eine Seite, registriert oder nicht";
    import: "Import principals, roles and assignments", "Principals, Rollen und Zuweisungen importieren";
    import_activate: "May records end suspensions", "Dürfen Einträge Sperren aufheben";
    import_apply: "Make these changes", "Diese Änderungen vornehmen";
    import_changed: "changed", "geändert";
    import_check: "Show what would change", "Zeigen, was sich ändern würde";
    import_differs:
        "The registry or the text has changed since the difference was shown. This is the difference now.",
        "Die Registry oder der Text hat sich geändert, seit der Unterschied gezeigt wurde. Dies ist der \
        Unterschied jetzt.";
    import_done_before: "Changes that were made before", "Änderungen, die vorher vorgenommen wurden";
    import_dry:
        "Nothing is changed yet. This is what an import would do.",
        "Noch ist nichts geändert. Das würde ein Import tun.";
    import_flaws:
        "Records are refused, so that nothing would be changed.",
        "Einträge werden abgelehnt; darum würde nichts geändert.";
    import_hint:
        "Records as `epr export` writes them, at most 200. More: `epr import`.",
        "Einträge, wie `epr export` sie schreibt, höchstens 200. Mehr: `epr import`.";
    import_in_doubt:
        "It is unknown whether these lines were applied:",
        "Unbekannt ist, ob diese Zeilen angewandt wurden:";
    import_new: "new", "neu";
    import_nothing: "An import would change nothing.", "Ein Import würde nichts ändern.";
    import_refused: "refused", "abgelehnt";
    import_text: "Records", "Einträge der Datei";
    import_too_many: "Too many records. At most:", "Zu viele Einträge. Höchstens:";
    import_unchanged: "unchanged", "unverändert";
    in_force: "in force", "in Kraft";
    incarnation: "Incarnation", "Inkarnation";
    kind: "Type", "Typ";
    lacks_scope: "Your credential lacks the scope", "Ihren Zugangsdaten fehlt der Scope";
    language: "Language", "Sprache";
    last_seen: "Last seen", "Zuletzt gesehen";
    ledger: "Ledger", "Ledger";
    line: "Line", "Zeile";
    log_in: "Log in", "Anmelden";
    log_in_at: "Log in at", "Anmelden bei";
    log_out: "Log out", "Abmelden";
    log_out_everywhere: "Log out everywhere", "Überall abmelden";
    login_again: "Log in again", "Erneut anmelden";
    login_code_spent:
        "The identity provider does not accept this answer: it was used already, or too late. Log in again.",
        "Der Identitätsanbieter nimmt diese Antwort nicht an: Sie wurde schon benutzt oder kam zu spät. Bitte erneut \
        anmelden.";
    login_foreign:
        "This browser did not begin the login that this answer belongs to, or has finished it. Log in again.",
        "Dieser Browser hat die Anmeldung nicht begonnen, zu der diese Antwort gehört, oder hat sie abgeschlossen. \
        Bitte erneut anmelden.";
    login_late: "The login took too long. Log in again.", "Die Anmeldung hat zu lange gedauert. Bitte erneut anmelden.";
    login_not_valid:
        "The identity provider's answer is not valid. The log of the service has the reason.",
        "Die Antwort des Identitätsanbieters ist nicht gültig. Den Grund nennt das Protokoll des Dienstes.";
    login_refused_there:
        "The identity provider refused the login:",
        "Der Identitätsanbieter hat die Anmeldung abgelehnt:";
    login_without_scopes:
        "The login succeeded, but it gives no scope of this service. Ask for a value of the claim",
        "Die Anmeldung ist gelungen, gibt hier aber keinen Scope. Nötig ist ein Wert des Claims";
    loopback_only:
        "Callers are not authenticated (EPR_AUTH_MODE), so that the console is open on this machine \
        only: http://localhost, without a proxy.",
        "Aufrufer werden nicht authentifiziert (EPR_AUTH_MODE); die Konsole ist darum nur auf dieser \
        Maschine offen: http://localhost, ohne Proxy.";
    message: "Message", "Nachricht";
    more_than: "more than", "mehr als";
    name: "Name", "Name";
    name_or_id: "Name or id", "Name oder Id";
    name_or_id_hint:
        "The beginning of a name, an id, or an external id",
        "Der Anfang eines Namens, eine Id oder eine externe Id";
    navigation: "Pages", "Seiten";
    needs: "needs", "braucht";
    never: "never", "nie";
    never_effective: "Never in force", "Nie in Kraft";
    newest_checkpoint: "Newest checkpoint", "Neuester Checkpoint";
    newest_entries: "Newest entries", "Neueste Einträge";
    next_entry: "Next entry", "Nächster Eintrag";
    next_page: "More rows", "Weitere Zeilen";
    no: "no", "nein";
    no_assignment_reaches:
        "No assignment of the principal reaches the resource.",
        "Keine Zuweisung des Principals erreicht die Ressource.";
    no_checkpoint: "There is no checkpoint.", "Es gibt keinen Checkpoint.";
    no_difference: "No difference", "Kein Unterschied";
    no_end: "no end", "ohne Ende";
    no_such_assignment:
        "There is no such assignment; it may have been revoked.",
        "Diese Zuweisung gibt es nicht; vielleicht wurde sie entzogen.";
    no_such_entry: "The ledger has no such entry.", "Das Ledger hat keinen solchen Eintrag.";
    no_such_page: "There is no such page.", "Diese Seite gibt es nicht.";
    nobody: "None", "Keine";
    none: "none", "keine";
    not_configured: "not configured", "nicht konfiguriert";
    not_covered_yet: "not covered yet", "noch nicht abgedeckt";
    not_found: "Not found", "Nicht gefunden";
    not_now: "This is not the present state:", "Dies ist nicht der jetzige Stand:";
    not_possible: "Not possible", "Nicht möglich";
    not_registered: "not registered", "nicht registriert";
    nothing_below: "Nothing is below.", "Darunter ist nichts.";
    nothing_changed: "Nothing was changed.", "Nichts wurde geändert.";
    oldest_pending: "Oldest pending", "Ältestes ausstehendes";
    one_a_line: "One a line", "Eine je Zeile";
    only_the_first: "There are more. Shown are the first", "Es gibt mehr. Gezeigt sind die ersten";
    open_entity: "Open the entity", "Die Entität öffnen";
    orphans: "Active below an archived parent", "Aktiv unter einer archivierten Entität";
    parent: "Parent", "Übergeordnet";
    parent_id: "Id of the parent", "Id der übergeordneten Entität";
    passes: "passes", "erfüllt";
    path: "Path from the assignments to the resource", "Weg von den Zuweisungen zur Ressource";
    permitted: "permitted", "erlaubt";
    pooler: "Connection pooler", "Verbindungs-Pooler";
    position: "Position", "Ort";
    previous_entry: "Previous entry", "Voriger Eintrag";
    previous_hash: "Hash of the previous entry", "Hash des vorigen Eintrags";
    principal: "Principal", "Principal";
    principal_id: "Id of the principal", "Id des Principals";
    principal_type: "Type of the principal", "Typ des Principals";
    principals: "Principals", "Principals";
    proved: "The ledger has this entry, unchanged.", "Das Ledger hat diesen Eintrag, unverändert.";
    provider_unavailable:
        "The identity provider does not answer. Try again later, or log in with an API token.",
        "Der Identitätsanbieter antwortet nicht. Versuchen Sie es später erneut, oder melden Sie sich mit einem \
        API-Token an.";
    question: "Question", "Frage";
    questions: "Questions", "Fragen";
    reach: "Reach", "Reichweite";
    ready: "Ready", "Bereit";
    reason: "Reason", "Grund";
    record: "Record", "Eintrag der Datei";
    recorded_as: "The change is recorded as entry", "Die Änderung steht im Ledger als Eintrag";
    registry: "Registry", "Registry";
    rejections: "Rejected messages", "Abgelehnte Nachrichten";
    requeue: "Deliver this event again", "Dieses Ereignis erneut zustellen";
    requeue_all: "Deliver all failed events again", "Alle fehlgeschlagenen Ereignisse erneut zustellen";
    requeued: "Events that are pending again", "Ereignisse, die wieder ausstehen";
    resource: "Resource", "Ressource";
    resource_id: "Id of the resource", "Id der Ressource";
    result: "Result", "Ergebnis";
    revision: "Revision", "Revision";
    revoke: "Revoke this assignment", "Diese Zuweisung entziehen";
    role: "Role", "Rolle";
    role_id: "Id of the role", "Id der Rolle";
    roles: "Roles", "Rollen";
    root: "Root hash", "Wurzel-Hash";
    save: "Save", "Speichern";
    scope_types: "Scope types", "Entitätstypen";
    search: "Search", "Suchen";
    shared_cache: "Shared cache", "Gemeinsamer Cache";
    show: "Show", "Zeigen";
    show_all: "Show all", "Alle zeigen";
    show_as_it_was: "Show as it was", "Zeigen, wie es war";
    show_below: "Show what is below", "Zeigen, was darunter ist";
    signed: "Signed", "Signiert";
    signed_in_as: "Logged in as", "Angemeldet als";
    signed_note:
        "Signed note, with the signatures of the ledger and of witnesses",
        "Signierte Notiz, mit den Signaturen des Ledgers und der Zeugen";
    skip: "Skip to the content", "Zum Inhalt";
    some: "some", "einige";
    source: "Source", "Quelle";
    state: "State", "Zustand";
    stated_reason: "Reason", "Grund";
    stated_reason_hint: "The ledger keeps it", "Das Ledger bewahrt ihn auf";
    status: "Status", "Status";
    step_entry:
        "The canonical text has the hash of the entry:",
        "Der kanonische Text hat den Hash des Eintrags:";
    step_leaf: "It is the leaf of this entry:", "Es ist das Blatt dieses Eintrags:";
    step_root: "The path leads to the root of the checkpoint:", "Der Pfad führt zur Wurzel des Checkpoints:";
    step_signature: "The checkpoint is signed by:", "Der Checkpoint ist signiert von:";
    subject: "Subject", "Gegenstand";
    subject_id: "Id of the subject", "Id des Gegenstands";
    suspend: "Suspend this principal", "Diesen Principal sperren";
    suspended_notice:
        "This principal is suspended: no role applies.",
        "Dieser Principal ist gesperrt: keine Rolle gilt.";
    time: "Time", "Zeit";
    times_seen: "Times seen", "Wie oft gesehen";
    token: "API token", "API-Token";
    token_hint:
        "It is sent once, to this service. The scopes of the token decide which pages you see.",
        "Es wird einmal gesendet, an diesen Dienst. Die Scopes des Tokens bestimmen, welche Seiten Sie \
        sehen.";
    token_not_valid: "The token is not valid.", "Das Token ist nicht gültig.";
    tree: "Tree", "Baum";
    type_the_id: "Type the id of the principal to confirm", "Zur Bestätigung die Id des Principals eingeben";
    typed_differs: "This is not the id of the principal.", "Das ist nicht die Id des Principals.";
    unanswered:
        "The service did not answer. Try again, or reload the page.",
        "Der Dienst hat nicht geantwortet. Versuchen Sie es erneut, oder laden Sie die Seite neu.";
    unavailable: "Temporarily unavailable", "Vorübergehend nicht verfügbar";
    unknown: "unknown", "unbekannt";
    until: "Until", "Bis";
    until_a_change: "until something is changed", "bis etwas geändert wird";
    unverifiable:
        "The credential cannot be verified now. Try again later.",
        "Die Zugangsdaten können jetzt nicht geprüft werden. Versuchen Sie es später erneut.";
    user_if_empty: "`user` if empty", "`user`, wenn leer";
    verified: "Last verification of the ledger", "Letzte Prüfung des Ledgers";
    verifier_keys: "Verifier keys", "Prüfschlüssel";
    verify_here: "Verify in this browser", "In diesem Browser prüfen";
    verify_hint:
        "Compare the keys with those that you have from elsewhere: a page about another ledger shows \
        other keys.",
        "Vergleichen Sie die Schlüssel mit denen, die Sie von anderswo haben: eine Seite über ein \
        anderes Ledger zeigt andere.";
    verify_needs_script:
        "This needs script and Ed25519 in the browser. Without them, download the proof and run \
        `epr-verify proof`.",
        "Das braucht Skript und Ed25519 im Browser. Laden Sie sonst den Beweis herunter und führen Sie \
        `epr-verify proof` aus.";
    what_can: "What can a principal do", "Was darf ein Principal";
    which_actions:
        "Which actions may a principal perform on a resource",
        "Welche Aktionen darf ein Principal auf einer Ressource";
    who_can: "Who can do it", "Wer darf das";
    why: "Why", "Warum";
    within: "Only below the entity", "Nur unter der Entität";
    yes: "yes", "ja";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_empty_and_the_catalogue_is_sorted() {
        for (name, english, german) in ALL {
            assert!(!english.trim().is_empty() && !german.trim().is_empty(), "{name}");
        }
        assert!(ALL.is_sorted_by_key(|(name, ..)| *name));
    }
}

-- The 24-hour window belongs to a number of ours and a customer, not to an attention: until when free text may be sent to whoever wrote
-- under an id, so that an attention begun later goes on with it. Rows whose window is over are swept.
CREATE TABLE attention.chat_window (
    -- WhatsApp id or number without `+`, or business-scoped user id.
    identity    text NOT NULL,
    account_key text NOT NULL,
    -- Whose the identity was when he wrote: a number may pass to somebody else, the window does not.
    contact_id  uuid NOT NULL,
    ends_at     timestamptz NOT NULL,
    PRIMARY KEY (identity, account_key)
) WITH (fillfactor = 70);

-- Windows that are open now.
INSERT INTO attention.chat_window (identity, account_key, contact_id, ends_at)
SELECT ltrim(i.value, '+'), a.account_key, a.contact_id, max(a.window_ends_at)
FROM attention.attention a JOIN contact.identity i USING (contact_id)
WHERE a.window_ends_at > now() AND i.kind IN ('phone', 'whatsapp', 'bsuid') AND i.value NOT LIKE '%.ENT.%'
GROUP BY 1, 2, 3
ON CONFLICT DO NOTHING;

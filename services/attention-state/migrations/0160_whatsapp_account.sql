-- A WhatsApp account has the settings of its number at the Cloud API. Null in email accounts, and in WhatsApp accounts of the
-- releases before, which could neither receive nor send.
ALTER TABLE directory.account
    -- {phone_number_id, business_account_id, display_number, access_token_secret, app_secret_secret, verify_token_secret,
    -- messages_per_second}; the secrets themselves never stand here.
    ADD COLUMN whatsapp jsonb,
    ADD CONSTRAINT whatsapp_only_of_whatsapp CHECK (whatsapp IS NULL OR channel = 'whatsapp');
CREATE UNIQUE INDEX one_active_account_per_phone_number ON directory.account ((whatsapp ->> 'phone_number_id'))
    WHERE active AND whatsapp IS NOT NULL;

-- Customers and their addresses and numbers. An identity points at exactly one contact; a merge re-points it.
CREATE SCHEMA IF NOT EXISTS contact;

CREATE TABLE contact.contact (
    contact_id uuid PRIMARY KEY,
    name       text NOT NULL DEFAULT '',
    company    text NOT NULL DEFAULT '',
    vip        boolean NOT NULL DEFAULT false,
    extra      jsonb NOT NULL DEFAULT '{}',
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT version_counts_from_one CHECK (version >= 1),
    CONSTRAINT name_is_short CHECK (char_length(name) <= 200),
    CONSTRAINT company_is_short CHECK (char_length(company) <= 200),
    CONSTRAINT extra_is_an_object CHECK (jsonb_typeof(extra) = 'object')
);

CREATE TABLE contact.identity (
    kind       text NOT NULL,
    value      text NOT NULL,
    contact_id uuid NOT NULL REFERENCES contact.contact,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, value),
    CONSTRAINT kind_is_known CHECK (kind IN ('email', 'phone', 'bsuid')),
    CONSTRAINT value_is_short CHECK (char_length(value) BETWEEN 1 AND 500)
);
CREATE INDEX identity_of_contact ON contact.identity (contact_id);

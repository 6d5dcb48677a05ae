-- A function in SQL that is not inlined (this one is declared stricter than its body) is parsed and planned anew in every
-- statement that calls it. In PL/pgSQL the session plans it once. Same results, so
-- the generated columns and indexes that rest on it stay as they are.
CREATE OR REPLACE FUNCTION contact.folded(words text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN lower(public.unaccent('public.unaccent'::regdictionary, words));
END
$$;

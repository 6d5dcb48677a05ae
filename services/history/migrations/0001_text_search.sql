-- Words are found whatever their accents, in Spanish and English, by stem or as written.
-- unaccent and pg_trgm belong to PostgreSQL's contrib (Debian: package postgresql-15) and are trusted extensions, so
-- the owner of the database may create them.
CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

-- Spanish stem of the word without its accents.
CREATE TEXT SEARCH CONFIGURATION hilo (COPY = pg_catalog.spanish);
ALTER TEXT SEARCH CONFIGURATION hilo
    ALTER MAPPING FOR asciiword, word, numword, asciihword, hword, numhword,
        hword_asciipart, hword_part, hword_numpart
    WITH public.unaccent, spanish_stem;

-- English stem of the word without its accents.
CREATE TEXT SEARCH CONFIGURATION hilo_english (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION hilo_english
    ALTER MAPPING FOR asciiword, word, numword, asciihword, hword, numhword,
        hword_asciipart, hword_part, hword_numpart
    WITH public.unaccent, english_stem;

-- The word as written, without its accents; keeps the words the other two drop as too frequent.
CREATE TEXT SEARCH CONFIGURATION hilo_raw (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION hilo_raw
    ALTER MAPPING FOR asciiword, word, numword, asciihword, hword, numhword,
        hword_asciipart, hword_part, hword_numpart
    WITH public.unaccent, simple;

-- Every form under which the words of a text can be found. The text comes as lower-case words between single blanks
-- (the service splits it, so that `a/b`, addresses and hyphens never become one token). The accented Spanish stem is
-- there too: Snowball cuts `-ación` only with its accent. Positions are dropped: order does not matter, size does.
CREATE FUNCTION search_vector(words text) RETURNS tsvector
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT strip(to_tsvector('public.hilo', words)) || strip(to_tsvector('public.hilo_english', words))
        || strip(to_tsvector('public.hilo_raw', words)) || strip(to_tsvector('pg_catalog.spanish', words))
$$;

-- One word of a search: any of its forms. Never empty, since the raw form keeps every word; the notices about stop words
-- in the other forms are noise.
CREATE FUNCTION search_query(word text) RETURNS tsquery
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET client_min_messages = warning AS $$
    SELECT plainto_tsquery('public.hilo_raw', word) || plainto_tsquery('public.hilo', word)
        || plainto_tsquery('public.hilo_english', word) || plainto_tsquery('pg_catalog.spanish', word)
$$;

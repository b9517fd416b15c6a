select exists (select from target),
    case when (select count(*) from links) <> (select count(*) from put) then again() end

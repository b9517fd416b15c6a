select exists (select from source) as fresh, j.ord, j.verdict, m.status, m.attempt_id, m.worker, m.due,
    case when j.status = 3 and j.is_over then 1 else j.status end as was,
    case when coalesce(m.status, j.status) = 1 then j.priority end as priority,
    case when coalesce(m.status, j.status) = 1 then j.key end as key,
    (select id from target) as target,
    (select priority from links order by priority desc, key limit 1) as chained_priority,
    (select key from links order by priority desc, key limit 1) as chained_key,
    case when (select count(*) from links) <> (select count(*) from put) then again() end as again
from (select 1) one left join judged j on true left join moved m on m.ord = j.ord

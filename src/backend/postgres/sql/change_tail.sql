)
select exists (select from source) as fresh, j.ord, j.verdict, m.status, m.attempt_id, m.worker, m.due,
    case when j.status = 3 and j.is_over then 1 else j.status end as was,
    case when coalesce(m.status, j.status) = 1 then j.priority end as priority,
    case when coalesce(m.status, j.status) = 1 then j.key end as key
from (select 1) one left join judged j on true left join moved m on m.ord = j.ord

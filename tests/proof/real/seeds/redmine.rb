# A Redmine as a small firm has it. ARGV: how many issues, how many were made before. Says keys and ids as JSON.
count, before = ARGV.last(2).map(&:to_i)
Setting.rest_api_enabled = '1'
Setting.text_formatting = 'markdown'
Setting.notified_events = []
Redmine::DefaultData::Loader.load('en') if Tracker.none?

def account(login, admin: false)
  User.find_by_login(login) || User.new(firstname: login.capitalize, lastname: 'Müller', mail: "#{login}@example.org",
    language: 'en', admin: admin).tap { |u| u.login = login; u.password = SecureRandom.hex(12); u.status = 1; u.save! }
end

boss, reader = account('boss', admin: true), account('reader')
role = Role.find_by(builtin: 0, name: 'Reporter')
role.add_permission!(:view_issues)
projects = %w[pumps turbines hidden].map do |name|
  Project.find_by(identifier: name) || Project.create!(name: name.capitalize, identifier: name,
    is_public: name == 'pumps', trackers: Tracker.all, enabled_module_names: ['issue_tracking'])
end
if reader.members.empty?
  Member.create!(project: projects[1], user: reader, roles: [role])
  IssueCustomField.create!(name: 'Severity', field_format: 'list', possible_values: %w[low high], is_for_all: true,
    trackers: Tracker.all, visible: true)
end
severity = IssueCustomField.find_by(name: 'Severity')
words = %w[gate valve rotor bearing inlet grille gauge sluice spillway governor flange seal pressure flow vibration oil]
made = (before...before + count).map do |n|
  dice = Random.new(n)
  some = -> (many) { Array.new(many) { words[dice.rand(words.size)] }.join(' ') }
  issue = Issue.new(project: projects[n % 10 == 9 ? 2 : n % 2], tracker: Tracker.first, author: boss,
    priority: IssuePriority.all[n % 3], subject: "#{some.(4)} — no. #{n} äöü ☃", is_private: false,
    status: IssueStatus.all[n % 5 == 0 ? -1 : 0],
    description: "The *#{some.(2)}* of unit #{n} fails <b>often</b>.\n\n```\n#{some.(6)}\n```\n\n* #{some.(9)}\n* #{some.(30)}")
  issue.custom_field_values = { severity.id.to_s => %w[low high][n % 2] }
  issue.save!
  (n % 4).times do |k|
    issue.reload.init_journal(boss, "Note #{k} about #{issue.id}: #{some.(20)}")
    issue.save!
  end
  if n % 6 == 0
    issue.reload.init_journal(boss, "SECRETNOTE #{n}").private_notes = true
    issue.save!
  end
  if n % 3 == 0
    text = "reading,value\n" + Array.new(40 + n) { |k| "#{k},#{dice.rand(1000)}" }.join("\n")
    name = n % 2 == 0 ? "Messwerte ü #{n}.csv" : "report-#{n}.txt"
    body = StringIO.new(text)
    Attachment.create!(container: issue, file: body, filename: name, author: boss, content_type: 'text/plain')
  end
  issue.id
end
puts({ reader: reader.api_key, boss: boss.api_key, made: made, version: Redmine::VERSION.to_s }.to_json)

# A Request Tracker as a small firm has it. Arguments: what to do, and a number or two. Says ids as JSON.
use strict; use warnings; use utf8;
use lib '/usr/share/request-tracker5/lib';
use JSON; use MIME::Entity; use Encode qw(encode);
use RT; RT::LoadConfig(); RT::Init();
my ($what, @rest) = @ARGV;
my @words = qw(gate valve rotor bearing inlet grille gauge sluice spillway governor flange seal pressure flow oil);
sub some { join ' ', map { $words[rand @words] } 1 .. $_[0] }
sub mime { my (%more) = @_; MIME::Entity->build(From => 'ann@example.org', Subject => encode('UTF-8', $more{subject} // 'x'),
    Type => $more{type} // 'text/plain', Charset => 'UTF-8', Encoding => '8bit', Data => [ encode('UTF-8', $more{text}) ]) }
my %said;

if ($what eq 'init') {
    # Mails to nobody make up most of the time that a ticket takes.
    my $scrips = RT::Scrips->new(RT->SystemUser); $scrips->UnLimit;
    my @all = @{ $scrips->ItemsArrayRef }; $_->Delete for @all;
    RT->Config->Set('MinimumPasswordLength', 5);
    my $reader = RT::User->new(RT->SystemUser);
    $reader->Create(Name => 'reader', EmailAddress => 'reader@example.org', Privileged => 1, Password => $rest[0], Timezone => 'America/New_York');
    my $group = RT::Group->new(RT->SystemUser); $group->CreateUserDefinedGroup(Name => 'readers');
    $group->AddMember($reader->PrincipalId);
    for my $name ('Pumps', 'Hidden') {
        my $queue = RT::Queue->new(RT->SystemUser); $queue->Create(Name => $name);
        $group->PrincipalObj->GrantRight(Right => $_, Object => $queue) for $name eq 'Pumps' ? qw(SeeQueue ShowTicket) : ();
    }
    my $field = RT::CustomField->new(RT->SystemUser);
    $field->Create(Name => 'Severity', TypeComposite => 'Select-1', LookupType => 'RT::Queue-RT::Ticket');
    $field->AddValue(Name => $_) for qw(low high);
    $field->AddToObject(RT::Queue->new(RT->SystemUser));
    $group->PrincipalObj->GrantRight(Right => 'SeeCustomField', Object => $field);
    $group->PrincipalObj->GrantRight(Right => 'ManageAuthTokens', Object => RT->System);
    my $token = RT::AuthToken->new(RT->SystemUser);
    my ($ok, $msg, $value) = $token->Create(Owner => $reader->id, Description => 'penstock');
    die $msg unless $ok;
    %said = (token => $value, version => $RT::VERSION);
}
elsif ($what eq 'fill') {
    my ($count, $before) = @rest;
    for my $n ($before .. $before + $count - 1) {
        srand($n);
        my $ticket = RT::Ticket->new(RT->SystemUser);
        my ($id, undef, $msg) = $ticket->Create(Queue => $n % 12 == 11 ? 'Hidden' : 'Pumps', Subject => some(4) . " — no. $n äöü ☃",
            Requestor => "user" . ($n % 7) . '@example.org', Status => $n % 9 == 4 ? 'resolved' : 'new',
            MIMEObj => mime(text => "The " . some(3) . " of unit $n fails <b>often</b>.\n\n" . some(60), subject => "no. $n"));
        die $msg unless $id;
        $ticket->AddCustomFieldValue(Field => 'Severity', Value => $n % 2 ? 'high' : 'low');
        $ticket->Correspond(MIMEObj => mime(text => "Answer $_ about $n: " . some(30))) for 1 .. $n % 3;
        $ticket->Correspond(MIMEObj => mime(type => 'text/html', text => "<p>In <b>HTML</b> about $n: " . some(25) . "</p>")) if $n % 4 == 0;
        $ticket->Comment(MIMEObj => mime(text => "SECRETCOMMENT $n")) if $n % 6 == 0;
        if ($n % 25 == 3) { $ticket->Correspond(MIMEObj => mime(text => "Long thread, part $_ of $n: " . some(9))) for 1 .. 45 }
        push @{ $said{made} }, $id if $n % 12 != 11;
    }
}
elsif ($what eq 'edit') {
    my @ids = split /,/, $rest[0];
    for my $at (0 .. $#ids) {
        my $ticket = RT::Ticket->new(RT->SystemUser); $ticket->Load($ids[$at]);
        if ($at % 3 == 0) { $ticket->Correspond(MIMEObj => mime(text => "It was the seal of $ids[$at].")) }
        elsif ($at % 3 == 1) { $ticket->SetSubject("Renamed: ölfest") }
        else { $ticket->AddCustomFieldValue(Field => 'Severity', Value => 'low'); $ticket->SetStatus('stalled') }
    }
}
elsif ($what eq 'remove') {
    my ($deleted, $moved, $merged, $into) = map { [ split /,/ ] } @rest;
    my $load = sub { my $t = RT::Ticket->new(RT->SystemUser); $t->Load($_[0]); $t };
    $load->($_)->SetStatus('deleted') for @$deleted;
    $load->($_)->SetQueue('Hidden') for @$moved;
    $load->($_)->MergeInto($into->[0]) for @$merged;
}
print encode_json(\%said), "\n";
